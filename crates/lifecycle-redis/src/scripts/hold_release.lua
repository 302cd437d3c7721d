-- An operator allows reaping to go on although it is held.
--
-- KEYS: 1 sweep:hold
-- ARGV: 1 for how many ms  2 format
-- Returns: {'ok', reason of the hold} {'none'}
-- Atomic.

local reason = redis.call('HGET', KEY.hold, 'reason')
if not reason then return {'none'} end
local until_ms = server_ms() + ARGV[1]
redis.call('HSET', KEY.hold, 'releasedUntil', until_ms, 'releasedFor', ARGV[1])
redis.call('PEXPIREAT', KEY.hold, until_ms)
publish(ARGV[2], EVENT.sweep_released, {reason = reason})
return {'ok', reason}
