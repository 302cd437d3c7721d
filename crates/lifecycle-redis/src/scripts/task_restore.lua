-- Puts a task in flight back into a store that lost its memory.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<agent>)  4 agent:task:<agent>:<task>  5 agent:keys:<agent>
--       6 sprint:tasks:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 id  4 task  5 sprint  6 attempt  7 max attempts  8 input  9 timeout ms
--       10 run  11 the tasks it needed, with a space between each two
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (by its record, that run is over: put back, it would be run again)
-- Atomic. A record that is missing, or behind, proves nothing.

local task = task_record(KEY.sprint_tasks, ARGV[4])
local run = tonumber(ARGV[10])
if task and task.run >= run then
  local is_ours = task.run == run and task.state == TASK_STATE.assigned and task.agentId == ARGV[3]
  if not is_ours then return {'gone'} end
end
-- Another type may stand under this name of ours.
if redis.call('TYPE', KEY.task)['ok'] ~= 'hash' then redis.call('UNLINK', KEY.task) end
redis.call('HSET', KEY.task, 'task', ARGV[4], 'sprint', ARGV[5], 'incarnation', ARGV[1], 'attempt', ARGV[6],
  'maxAttempts', ARGV[7], 'input', ARGV[8], 'timeoutMs', ARGV[9], 'run', ARGV[10], 'needs', ARGV[11], 'assignedAt', server_ms(), 'started', server_ms())
redis.call('SADD', KEY.owned, KEY.task)
return {'ok'}
