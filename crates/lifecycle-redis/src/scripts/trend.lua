-- Writes down the trend of an agent's memory, and publishes the alert of a finding once per episode.
--
-- KEYS: 1 agent:memory:<id>  2 agent:state:<id>
-- ARGV: 1 incarnation, '' for a plain agent  2 after how many ms in which no sweeper saw it a finding is another episode
--       3 the finding that begins, or ''  4 its alert (opaque)  5 the findings that ended  6 those that go on  7 all there
--       are (each list with spaces)  8… fields of the trend, name then value
-- Returns: 1 (the alert was published) or 0
-- Atomic. Writes only beside memory figures of that life that are there: never creates a key, and leaves the TTL alone. The
-- latch that all sweepers share is a stamp of each finding. It is renewed while a sweeper sees the finding, and is removed
-- with the key. Without figures there is no latch: a repeated alert is better than none.

if ARGV[1] ~= '' and fields_of(KEY.state, 'incarnation')[1] ~= ARGV[1] then return 0 end
local has_latch = redis.call('TYPE', KEY.memory)['ok'] == 'hash'
local now = server_ms()

local function is_fresh(finding)
  local seen = has_latch and tonumber(redis.call('HGET', KEY.memory, finding .. 'Seen') or '')
  return seen and seen <= now and now - seen < tonumber(ARGV[2])
end

local is_first = ARGV[3] ~= '' and not is_fresh(ARGV[3])
if has_latch then
  for finding in string.gmatch(ARGV[5], '%S+') do redis.call('HDEL', KEY.memory, finding .. 'Seen') end
  local others_know = false
  for finding in string.gmatch(ARGV[7], '%S+') do others_know = others_know or is_fresh(finding) end
  for finding in string.gmatch(ARGV[6], '%S+') do redis.call('HSET', KEY.memory, finding .. 'Seen', now) end
  -- A sweeper without a finding (yet) does not overwrite what another one has found.
  if ARGV[6] ~= '' or not others_know then redis.call('HSET', KEY.memory, unpack(ARGV, 8)) end
end
if is_first then redis.call('PUBLISH', ALERT_CHANNEL, ARGV[4]) end
return is_first and 1 or 0
