-- The agent begins a run of a task. From then on the run costs the task something if it ends badly.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<agent>)  4 agent:task:<agent>:<task>  5 agent:keys:<agent>
--       6 sprint:tasks:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 run  4 task
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (the task was taken back; by its record the run is over, and then it is
--          not in flight any more either)
-- Atomic.

if fields_of(KEY.task, 'run')[1] ~= ARGV[3] then return {'gone'} end
-- By the task's record the run may be over: a store that went back in time brings finished tasks back in flight.
local task = task_record(KEY.sprint_tasks, ARGV[4])
local run = tonumber(ARGV[3])
if task and (task.run > run or (task.run == run and task.state ~= TASK_STATE.assigned)) then
  redis.call('UNLINK', KEY.task)
  unless_mistyped('SREM', KEY.owned, KEY.task)
  return {'gone'}
end
redis.call('HSET', KEY.task, 'started', server_ms())
return {'ok'}
