-- The coordinator writes a task's record anew that cannot be read.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 sprint:tasks:<sprint>
-- ARGV: 1 incarnation  2 generation  3 task  4 the bytes that were seen  5 the new record
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (something else stands there by now)
-- Atomic.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
if redis.call('HGET', KEYS[3], ARGV[3]) ~= ARGV[4] then return {'gone'} end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
return {'ok'}
