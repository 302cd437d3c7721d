-- Records the end of a pass, and with it the hold.
--
-- KEYS: 1 sweep:watermark  2 sweep:hold  3 lifecycle:generation
-- ARGV: 1 who  2 '' if nothing is held, else why in words  3 how many are held  4 short name of why  5 format
--       6 when the pass looked, in ms  7 how many agents the fleet has
-- Returns: {now, 'held' or 'released' if that has just begun, else ''}
-- Atomic.

local now = server_ms()
local change = ''
redis.call('HSET', KEYS[1], 'at', now, 'by', ARGV[1], 'generation', redis.call('GET', KEYS[3]) or '')
if ARGV[2] == '' then
  redis.call('HSET', KEYS[1], 'good', ARGV[6])
  local hold = redis.call('HMGET', KEYS[2], 'reason', 'releasedUntil')
  if hold[1] and not (hold[2] and tonumber(hold[2]) > now) then
    redis.call('UNLINK', KEYS[2])
    publish(ARGV[5], EVENT.sweep_released, {reason = hold[1]})
    change = 'released'
  end
else
  if redis.call('HSETNX', KEYS[2], 'since', now) == 1 then
    -- Fixed for the length of the hold: the limited rate must not slow down as the fleet shrinks.
    redis.call('HSET', KEYS[2], 'fleet', ARGV[7])
    publish(ARGV[5], EVENT.sweep_held, {reason = ARGV[2], count = tonumber(ARGV[3]), state = ARGV[4]})
    change = 'held'
  end
  redis.call('HSET', KEYS[2], 'reason', ARGV[2], 'agents', ARGV[3], 'kind', ARGV[4])
end

-- A time in the future was written before the server's clock was set back. It counts as now, and from here on it is.
local times = fields_of(KEYS[2], 'since', 'releasedUntil', 'releasedFor')
if times[1] and tonumber(times[1]) > now then redis.call('HSET', KEYS[2], 'since', now) end
if times[2] and times[3] and tonumber(times[2]) > now + times[3] then
  redis.call('HSET', KEYS[2], 'releasedUntil', now + times[3])
  redis.call('PEXPIREAT', KEYS[2], now + times[3])
end
return {tostring(now), change}
