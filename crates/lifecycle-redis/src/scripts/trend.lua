-- Writes down where an agent's memory is going, and tells people of a finding once per episode.
--
-- KEYS: 1 agent:memory:<id>  2 agent:state:<id>
-- ARGV: 1 incarnation, '' for a plain agent  2 'began' (a finding), 'ended' or ''  3 the finding
--       4 the alert (opaque; '' unless 'began')  5… fields of the trend, name then value
-- Returns: 1 (the alert was published) or 0
-- Atomic. Writes only beside memory figures that are there, of that life: never creates a key, leaves its TTL alone. The
-- field 'alerted' is the latch that all sweepers share; it goes with the key.

if redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' then return 0 end
if ARGV[1] ~= '' and fields_of(KEYS[2], 'incarnation')[1] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
if ARGV[2] == 'ended' then redis.call('HDEL', KEYS[1], 'alerted') end
if ARGV[2] ~= 'began' or redis.call('HGET', KEYS[1], 'alerted') == ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'alerted', ARGV[3])
redis.call('PUBLISH', ALERT_CHANNEL, ARGV[4])
return 1
