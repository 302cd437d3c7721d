-- Forgets a plain agent that left: removes its lease and the keys that it left behind.
--
-- KEYS: 1 agents:active  2 agents:leases  3 agent:state:<id>  4 agent:heartbeat:<id>  5 agent:memory:<id>
--       6 memory:stats  7… keys it left behind
-- ARGV: 1 id
-- Returns: number of keys removed, or -1 (it is back, or registered, or beats)
-- Atomic.

if redis.call('SISMEMBER', KEY.active, ARGV[1]) == 1 or redis.call('EXISTS', KEY.heartbeat) == 1 then return -1 end
if fields_of(KEY.state, 'incarnation')[1] then return -1 end
redis.call('ZREM', KEY.leases, ARGV[1])
local deleted = redis.call('UNLINK', KEY.state, KEY.memory)
for i = NAMED + 1, #KEYS do deleted = deleted + redis.call('UNLINK', KEYS[i]) end
if deleted > 0 then redis.pcall('HINCRBY', KEY.stats, 'keysDeleted', deleted) end
return deleted
