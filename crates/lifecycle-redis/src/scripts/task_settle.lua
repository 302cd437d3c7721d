-- The coordinator gives up a waiting task that cannot run.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 sprint:tasks:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 task  4 the new record  5 the task that it needs and that is lost ('' where another
--       reason keeps it from running)
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (it does not wait any more, or what it needs is not lost any more)
-- Atomic.

local task = task_record(KEY.sprint_tasks, ARGV[3])
if not task or task.state ~= TASK_STATE.pending then return {'gone'} end
if ARGV[5] ~= '' then
  local need = task_record(KEY.sprint_tasks, ARGV[5])
  if need and need.state ~= TASK_STATE.failed and need.state ~= TASK_STATE.cancelled then return {'gone'} end
end
redis.call('HSET', KEY.sprint_tasks, ARGV[3], ARGV[4])
return {'ok'}
