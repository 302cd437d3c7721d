-- The coordinator takes back a run that nobody holds any more: it goes into the requeue like any other.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 sprint:tasks:<sprint>  4 sprint:requeue:<sprint>
-- ARGV: 1 incarnation  2 generation  3 task  4 run  5 what it costs  6 why  7 format
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (that run is not in flight)
-- Atomic. WRONGTYPE where one of the keys holds something else.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
local wrong = wrong_type(KEYS[3], 'hash', KEYS[4], 'list')
if wrong then return wrong end
local task = task_record(KEYS[3], ARGV[3])
if not task or task.state ~= TASK_STATE.assigned or task.run ~= tonumber(ARGV[4]) then return {'gone'} end
redis.call('RPUSH', KEYS[4], encode(ARGV[7], {
  taskId = ARGV[3], run = task.run, cost = ARGV[5], agentId = task.agentId, reason = ARGV[6],
}))
return {'ok'}
