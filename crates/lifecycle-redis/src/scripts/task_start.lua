-- The agent begins a run of a task: from here on it counts.
--
-- KEYS: 1 agent:state:<agent>  2 lifecycle:generation  3 agent:task:<agent>:<task>  4 sprint:tasks:<sprint>
-- ARGV: 1 incarnation  2 generation  3 run  4 task
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (the task was taken back)
-- Atomic.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
if fields_of(KEYS[3], 'run')[1] ~= ARGV[3] then return {'gone'} end
-- By its record that run may be over: a store that went back in time brings tasks in flight back that were done.
local task = task_record(KEYS[4], ARGV[4])
local run = tonumber(ARGV[3])
if task and (task.run > run or (task.run == run and task.state ~= TASK_STATE.assigned)) then return {'gone'} end
redis.call('HSET', KEYS[3], 'started', server_ms())
return {'ok'}
