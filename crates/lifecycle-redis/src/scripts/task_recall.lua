-- The coordinator takes back a run that no agent holds any more: it goes into the requeue like any other.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 sprint:tasks:<sprint>  5 sprint:requeue:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 task  4 run  5 what it costs  6 why  7 format
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (that run is not in flight)
-- Atomic. WRONGTYPE where one of the keys holds another type.

local wrong = wrong_type(KEY.sprint_tasks, 'hash', KEY.requeue, 'list')
if wrong then return wrong end
local task = task_record(KEY.sprint_tasks, ARGV[3])
if not task or task.state ~= TASK_STATE.assigned or task.run ~= tonumber(ARGV[4]) then return {'gone'} end
redis.call('RPUSH', KEY.requeue, encode(ARGV[7], {
  taskId = ARGV[3], run = task.run, cost = ARGV[5], agentId = task.agentId, reason = ARGV[6],
}))
return {'ok'}
