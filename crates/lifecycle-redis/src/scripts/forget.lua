-- Forgets a plain agent that left: its lease, and what it did not take away with it.
--
-- KEYS: 1 agents:active  2 agents:leases  3 agent:state:<id>  4 agent:heartbeat:<id>  5 agent:memory:<id>
--       6 memory:stats  7… keys it left behind
-- ARGV: 1 id
-- Returns: number of keys removed, or -1 (it is back, or registered, or beats)
-- Atomic.

if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 or redis.call('EXISTS', KEYS[4]) == 1 then return -1 end
if fields_of(KEYS[3], 'incarnation')[1] then return -1 end
redis.call('ZREM', KEYS[2], ARGV[1])
local deleted = redis.call('UNLINK', KEYS[3], KEYS[5])
for i = 7, #KEYS do deleted = deleted + redis.call('UNLINK', KEYS[i]) end
if deleted > 0 then redis.pcall('HINCRBY', KEYS[6], 'keysDeleted', deleted) end
return deleted
