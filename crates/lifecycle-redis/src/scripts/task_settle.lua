-- The coordinator changes records of tasks that are not in flight: gives up those that cannot run, and takes back
-- those whose agent lost them with the store's memory.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 sprint:tasks:<sprint>
-- ARGV: 1 incarnation  2 generation  3 task  4 state it must be in  5 the new record
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (it is in another state)
-- Atomic.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
local task = decode(redis.call('HGET', KEYS[3], ARGV[3]) or '')
if not task or task.state ~= ARGV[4] then return {'gone'} end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
return {'ok'}
