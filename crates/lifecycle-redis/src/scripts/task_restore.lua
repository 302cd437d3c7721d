-- Puts a task in flight back into a store that lost its memory.
--
-- KEYS: 1 agent:state:<agent>  2 lifecycle:generation  3 agent:task:<agent>:<task>  4 agent:keys:<agent>
--       5 sprint:tasks:<sprint>
-- ARGV: 1 id  2 incarnation  3 generation  4 task  5 sprint  6 attempt  7 max attempts  8 input  9 timeout ms
--       10 run
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (by its record, that run is over: put back, it would be run again)
-- Atomic. A record that is missing, or behind, says nothing.

local verdict = fence(KEYS[1], KEYS[2], ARGV[2], ARGV[3])
if verdict ~= 'ok' then return {verdict} end
local task = task_record(KEYS[5], ARGV[4])
local run = tonumber(ARGV[10])
if task and task.run >= run then
  local is_ours = task.run == run and task.state == TASK_STATE.assigned and task.agentId == ARGV[1]
  if not is_ours then return {'gone'} end
end
-- Whatever somebody else has put under this name of ours.
if redis.call('TYPE', KEYS[3])['ok'] ~= 'hash' then redis.call('UNLINK', KEYS[3]) end
redis.call('HSET', KEYS[3], 'task', ARGV[4], 'sprint', ARGV[5], 'incarnation', ARGV[2], 'attempt', ARGV[6],
  'maxAttempts', ARGV[7], 'input', ARGV[8], 'timeoutMs', ARGV[9], 'run', ARGV[10], 'assignedAt', server_ms(), 'started', server_ms())
redis.call('SADD', KEYS[4], KEYS[3])
return {'ok'}
