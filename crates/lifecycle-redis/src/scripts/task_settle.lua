-- The coordinator gives up a waiting task that cannot run.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 sprint:tasks:<sprint>
-- ARGV: 1 incarnation  2 generation  3 task  4 the new record
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (it does not wait any more)
-- Atomic.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
local task = task_record(KEYS[3], ARGV[3])
if not task or task.state ~= TASK_STATE.pending then return {'gone'} end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
return {'ok'}
