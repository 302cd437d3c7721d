-- Ends an attempt: settles the task in the record once, or hands it back for another attempt.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<agent>)  4 agent:task:<agent>:<task>  5 agent:keys:<agent>
--       6 sprint:tasks:<sprint>  7 sprint:requeue:<sprint>  8 sprint:state:<sprint>  9 sprint:inbox:<sprint>
--       10 sprint:results:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 MessagePack map {agentId, taskId, sprint, run, attempt, outcome, detail,
--         format, result (text, or nil for none)}  4 message for the coordinator
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (the run was taken back: its result does not count)
--          {'no_sprint'} (the store lost the sprint, or the end of what it was told, or the record cannot be read, and
--          the coordinator has not put it back yet: try again)
-- The record decides, not agent:task: a store that went back in time may have one and not the other.
-- Atomic; refuses before it writes. WRONGTYPE where one of the keys holds another type.

local args = cmsgpack.unpack(ARGV[3])
if redis.call('EXISTS', KEY.sprint_state) == 0 then return {'no_sprint'} end
local wrong = wrong_type(KEY.owned, 'set', KEY.sprint_tasks, 'hash', KEY.requeue, 'list')
if wrong then return wrong end
local task = task_record(KEY.sprint_tasks, args.taskId)
-- Runs are only counted up, so a record behind ours is an old one.
if not task or task.run < args.run then return {'no_sprint'} end

if tonumber(fields_of(KEY.task, 'run')[1]) == args.run then
  redis.call('UNLINK', KEY.task)
  redis.call('SREM', KEY.owned, KEY.task)
end
local is_ours = task.state == TASK_STATE.assigned and task.run == args.run and task.agentId == args.agentId
if not is_ours or task.incarnation ~= ARGV[1] then return {'gone'} end
if args.outcome == TASK_STATE.completed then
  task.state, task.agentId, task.incarnation, task.detail =
    TASK_STATE.completed, args.agentId, ARGV[1], args.detail
  task.endedAt = server_ms()
  redis.call('HSET', KEY.sprint_tasks, args.taskId, encode(args.format, task))
  -- The result of an earlier run does not count.
  if args.result then
    unless_mistyped('HSET', KEY.results, args.taskId, args.result)
  else
    unless_mistyped('HDEL', KEY.results, args.taskId)
  end
  unless_mistyped('RPUSH', KEY.inbox, ARGV[4])
else
  redis.call('RPUSH', KEY.requeue, encode(args.format, {
    taskId = args.taskId, run = args.run, cost = COST.attempt, agentId = args.agentId, reason = args.detail,
  }))
end
publish(args.format, EVENT.task_completed, {
  agentId = args.agentId, incarnation = ARGV[1], sprint = args.sprint, taskId = args.taskId,
  attempt = args.attempt, outcome = args.outcome, status = args.detail,
})
return {'ok'}
