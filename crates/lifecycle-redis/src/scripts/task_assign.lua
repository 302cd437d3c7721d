-- Gives a task to an agent.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 agent:state:<agent>  5 agent:task:<agent>:<task>
--       6 agent:keys:<agent>  7 sprint:tasks:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 MessagePack map {agentId, agentIncarnation, taskId, sprint,
--         run, attempt, maxAttempts, input, timeoutMs, needs (ids, with a space between each two), format}
-- Returns: {'ok'} {'fenced'} {'unknown'} (the coordinator) {'gone'} (that life of the agent) {'busy'} (it takes no
--          work) {'settled'} (the task is done, or in flight elsewhere, or was handed out meanwhile)
-- Atomic; refuses before it writes. WRONGTYPE where one of the keys holds another type.

local args = cmsgpack.unpack(ARGV[3])
local wrong = wrong_type(KEY.agent_owned, 'set', KEY.sprint_tasks, 'hash')
if wrong then return wrong end
local agent = fields_of(KEY.agent_state, 'incarnation', 'ended', 'state')
if agent[1] ~= args.agentIncarnation or agent[2] then return {'gone'} end
if not TAKES_WORK[agent[3]] then return {'busy'} end
local task = task_record(KEY.sprint_tasks, args.taskId)
if not task or task.state ~= TASK_STATE.pending or task.run + 1 ~= args.run then return {'settled'} end

redis.call('SADD', KEY.agent_owned, KEY.task)
-- Another type may stand under this name of ours.
redis.call('UNLINK', KEY.task)
redis.call('HSET', KEY.task, 'task', args.taskId, 'sprint', args.sprint, 'incarnation', args.agentIncarnation,
  'run', args.run, 'attempt', args.attempt, 'maxAttempts', args.maxAttempts, 'input', args.input, 'timeoutMs', args.timeoutMs,
  'needs', args.needs, 'assignedAt', server_ms())
task.state, task.run, task.attempt, task.detail = TASK_STATE.assigned, args.run, args.attempt, nil
task.notBefore = nil
task.agentId, task.incarnation, task.assignedAt = args.agentId, args.agentIncarnation, server_ms()
redis.call('HSET', KEY.sprint_tasks, args.taskId, encode(args.format, task))
publish(args.format, EVENT.task_assigned, {
  agentId = args.agentId, incarnation = args.agentIncarnation, sprint = args.sprint, taskId = args.taskId,
  attempt = args.attempt,
})
return {'ok'}
