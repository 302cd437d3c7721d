-- Ends an attempt: settles the task in the record once, or hands it back for another attempt.
--
-- KEYS: 1 agent:state:<agent>  2 lifecycle:generation  3 agent:task:<agent>:<task>  4 agent:keys:<agent>
--       5 sprint:tasks:<sprint>  6 sprint:requeue:<sprint>  7 sprint:state:<sprint>
-- ARGV: 1 MessagePack map {agentId, incarnation, generation, taskId, sprint, run, attempt, outcome, detail,
--         format}
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (the run was taken back: its result does not count)
--          {'no_sprint'} (the store lost the sprint, or the end of what it was told, or the record cannot be read, and
--          the coordinator has not put it back yet: try again)
-- The record decides, not agent:task: a store that went back in time may have the one and not the other.
-- Atomic; refuses before it writes. WRONGTYPE where one of the keys holds something else.

local args = cmsgpack.unpack(ARGV[1])
local verdict = fence(KEYS[1], KEYS[2], args.incarnation, args.generation)
if verdict ~= 'ok' then return {verdict} end
if redis.call('EXISTS', KEYS[7]) == 0 then return {'no_sprint'} end
local wrong = wrong_type(KEYS[4], 'set', KEYS[5], 'hash', KEYS[6], 'list')
if wrong then return wrong end
local task = task_record(KEYS[5], args.taskId)
-- Runs are only counted up: a record that is behind ours is one of the past.
if not task or task.run < args.run then return {'no_sprint'} end

if tonumber(fields_of(KEYS[3], 'run')[1]) == args.run then
  redis.call('UNLINK', KEYS[3])
  redis.call('SREM', KEYS[4], KEYS[3])
end
local is_ours = task.state == TASK_STATE.assigned and task.run == args.run and task.agentId == args.agentId
if not is_ours or task.incarnation ~= args.incarnation then return {'gone'} end
if args.outcome == TASK_STATE.completed then
  task.state, task.agentId, task.incarnation, task.detail =
    TASK_STATE.completed, args.agentId, args.incarnation, args.detail
  redis.call('HSET', KEYS[5], args.taskId, encode(args.format, task))
else
  redis.call('RPUSH', KEYS[6], encode(args.format, {
    taskId = args.taskId, run = args.run, cost = COST.attempt, agentId = args.agentId, reason = args.detail,
  }))
end
publish(args.format, EVENT.task_completed, {
  agentId = args.agentId, incarnation = args.incarnation, sprint = args.sprint, taskId = args.taskId,
  attempt = args.attempt, outcome = args.outcome, status = args.detail,
})
return {'ok'}
