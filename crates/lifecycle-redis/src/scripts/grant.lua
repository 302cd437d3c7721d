-- Grants a sweeper a part of the limited rate at which reaping goes on after a long hold. All sweepers share the rate, in
-- server time: what was granted to any of them within the last minute counts.
--
-- KEYS: 1 sweep:hold
-- ARGV: 1 how many agents it would reap  2 how many may go in a minute  3 '1' to ask only
-- Returns: {how many it may reap, ms until more will be granted (0: it was all granted, or the hold is over)}
-- Atomic. What is granted and not used is lost. Writes nothing unless there is a hold.

local hold = fields_of(KEY.hold, 'since', 'granted')
-- Another sweeper ended the hold because no agent was silent any more, so the next pass judges anew.
if not hold[1] then return {0, 0} end
local now, used, oldest, kept = server_ms(), 0, nil, {}
for at, count in string.gmatch(hold[2] or '', '(%d+):(%d+)') do
  -- A grant in the future was made before the clock was set back. It counts as made now.
  at = math.min(tonumber(at), now)
  if now - at < 60000 then
    used, oldest = used + count, oldest or at
    kept[#kept + 1] = string.format('%.0f:%s', at, count)
  end
end
local asked = tonumber(ARGV[1])
local granted = math.max(0, math.min(asked, ARGV[2] - used))
if granted > 0 then
  kept[#kept + 1] = string.format('%.0f:%.0f', now, granted)
  oldest = oldest or now
end
if ARGV[3] ~= '1' then redis.call('HSET', KEY.hold, 'granted', table.concat(kept, ' ')) end
return {granted, granted < asked and (oldest or now) + 60000 - now or 0}
