-- Gives a task to an agent.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 agent:state:<agent>  4 agent:task:<agent>:<task>
--       5 agent:keys:<agent>  6 sprint:tasks:<sprint>
-- ARGV: 1 MessagePack map {incarnation, generation (of the coordinator), agentId, agentIncarnation, taskId, sprint,
--         run, attempt, maxAttempts, input, timeoutMs, format}
-- Returns: {'ok'} {'fenced'} {'unknown'} (the coordinator) {'gone'} (that life of the agent) {'busy'} (it takes no
--          work) {'settled'} (the task is done, or in flight elsewhere, or was handed out meanwhile)
-- Atomic; refuses before it writes. WRONGTYPE where one of the keys holds something else.

local args = cmsgpack.unpack(ARGV[1])
local verdict = fence(KEYS[1], KEYS[2], args.incarnation, args.generation)
if verdict ~= 'ok' then return {verdict} end
local wrong = wrong_type(KEYS[5], 'set', KEYS[6], 'hash')
if wrong then return wrong end
local agent = fields_of(KEYS[3], 'incarnation', 'ended', 'state')
if agent[1] ~= args.agentIncarnation or agent[2] then return {'gone'} end
if not TAKES_WORK[agent[3]] then return {'busy'} end
local task = task_record(KEYS[6], args.taskId)
if not task or task.state ~= TASK_STATE.pending or task.run + 1 ~= args.run then return {'settled'} end

redis.call('SADD', KEYS[5], KEYS[4])
-- Whatever somebody else has put under this name of ours.
redis.call('UNLINK', KEYS[4])
redis.call('HSET', KEYS[4], 'task', args.taskId, 'sprint', args.sprint, 'incarnation', args.agentIncarnation,
  'run', args.run, 'attempt', args.attempt, 'maxAttempts', args.maxAttempts, 'input', args.input, 'timeoutMs', args.timeoutMs,
  'assignedAt', server_ms())
task.state, task.run, task.attempt, task.detail = TASK_STATE.assigned, args.run, args.attempt, nil
task.agentId, task.incarnation = args.agentId, args.agentIncarnation
redis.call('HSET', KEYS[6], args.taskId, encode(args.format, task))
publish(args.format, EVENT.task_assigned, {
  agentId = args.agentId, incarnation = args.agentIncarnation, sprint = args.sprint, taskId = args.taskId,
  attempt = args.attempt,
})
return {'ok'}
