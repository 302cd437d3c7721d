-- Records the end of a pass, and with it the hold.
--
-- KEYS: 1 sweep:watermark  2 sweep:hold  3 lifecycle:generation
-- ARGV: 1 who  2 '' if nothing is held, else why in words  3 how many are held  4 short name of why  5 format
--       6 when the pass looked, in ms  7 after how many ms without a pass a sweeper is forgotten  8 how many agents the
--       fleet has
-- Returns: {now, 'held' or 'released' if that has just begun, else ''}
-- Atomic. Where another type stands under one of the names, that part is not recorded, and the pass counts all the same.

local now = server_ms()
local change = ''
unless_mistyped('HSET', KEY.watermark, 'at', now, 'by', ARGV[1], 'generation', unless_mistyped('GET', KEY.generation) or '')
unless_mistyped('HSET', KEY.watermark, PASS .. ARGV[1], now)
-- Sweepers that died, and one-shot ones, do not remove their entries.
local fields = unless_mistyped('HGETALL', KEY.watermark) or {}
for i = 1, #fields, 2 do
  local is_pass = string.sub(fields[i], 1, string.len(PASS)) == PASS
  if is_pass and (tonumber(fields[i + 1]) or 0) + ARGV[7] < now then redis.call('HDEL', KEY.watermark, fields[i]) end
end
if ARGV[2] == '' then
  unless_mistyped('HSET', KEY.watermark, 'good', ARGV[6])
  local hold = fields_of(KEY.hold, 'reason', 'releasedUntil')
  if hold[1] and not (hold[2] and tonumber(hold[2]) > now) then
    redis.call('UNLINK', KEY.hold)
    publish(ARGV[5], EVENT.sweep_released, {reason = hold[1]})
    change = 'released'
  end
else
  if unless_mistyped('HSETNX', KEY.hold, 'since', now) == 1 then
    -- Fixed for the length of the hold: the limited rate must not slow down as the fleet shrinks.
    unless_mistyped('HSET', KEY.hold, 'fleet', ARGV[8])
    publish(ARGV[5], EVENT.sweep_held, {reason = ARGV[2], count = tonumber(ARGV[3]), state = ARGV[4]})
    change = 'held'
  end
  if fields_of(KEY.hold, 'kind')[1] ~= ARGV[4] then unless_mistyped('HSET', KEY.hold, 'kindSince', now) end
  unless_mistyped('HSET', KEY.hold, 'reason', ARGV[2], 'agents', ARGV[3], 'kind', ARGV[4])
end

-- A time in the future was written before the server's clock was set back. It counts as now, and is corrected here.
local times = fields_of(KEY.hold, 'since', 'releasedUntil', 'releasedFor', 'kindSince')
if times[1] and tonumber(times[1]) > now then redis.call('HSET', KEY.hold, 'since', now) end
if times[4] and tonumber(times[4]) > now then redis.call('HSET', KEY.hold, 'kindSince', now) end
if times[2] and times[3] and tonumber(times[2]) > now + times[3] then
  redis.call('HSET', KEY.hold, 'releasedUntil', now + times[3])
  redis.call('PEXPIREAT', KEY.hold, now + times[3])
end
return {tostring(now), change}
