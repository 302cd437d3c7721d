-- The coordinator restores a task's record that it had read before, in a store that went back in time (an append-only file
-- cut short, a replica that lagged, an old dump).
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 sprint:tasks:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 task  4 the record that is there, as it was read: state  5 its run
--       6 the record that was read before
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (it has changed since)
-- Atomic.

local task = task_record(KEY.sprint_tasks, ARGV[3])
if not task or task.state ~= ARGV[4] or task.run ~= tonumber(ARGV[5]) then return {'gone'} end
redis.call('HSET', KEY.sprint_tasks, ARGV[3], ARGV[6])
return {'ok'}
