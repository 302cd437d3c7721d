-- Ends an attempt: settles the task in the record once, or hands it back for another attempt.
--
-- KEYS: 1 agent:state:<agent>  2 lifecycle:generation  3 agent:task:<agent>:<task>  4 agent:keys:<agent>
--       5 sprint:tasks:<sprint>  6 sprint:requeue:<sprint>  7 sprint:state:<sprint>
-- ARGV: 1 MessagePack map {agentId, incarnation, generation, taskId, sprint, attempt, maxAttempts, outcome, detail,
--         format}
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (the attempt was taken back: its result does not count)
--          {'no_sprint'} (the store lost the sprint and its coordinator has not restored it yet: try again)
-- Atomic; refuses before it writes.

local args = cmsgpack.unpack(ARGV[1])
local verdict = fence(KEYS[1], KEYS[2], args.incarnation, args.generation)
if verdict ~= 'ok' then return {verdict} end
if redis.call('EXISTS', KEYS[7]) == 0 then return {'no_sprint'} end
if tonumber(redis.call('HGET', KEYS[3], 'attempt') or -1) ~= args.attempt then return {'gone'} end
local task = decode(redis.call('HGET', KEYS[5], args.taskId) or '')
if not task then return {'no_sprint'} end

redis.call('UNLINK', KEYS[3])
redis.call('SREM', KEYS[4], KEYS[3])
if task.state ~= 'assigned' or task.agentId ~= args.agentId or task.attempt ~= args.attempt then return {'gone'} end
if args.outcome == 'completed' then
  redis.call('HSET', KEYS[5], args.taskId, encode(args.format, {
    state = 'completed', attempt = args.attempt, maxAttempts = args.maxAttempts, agentId = args.agentId,
    incarnation = args.incarnation, detail = args.detail,
  }))
else
  redis.call('RPUSH', KEYS[6], encode(args.format, {
    taskId = args.taskId, attempt = args.attempt, agentId = args.agentId, reason = args.detail,
  }))
end
publish(args.format, EVENT.task_completed, {
  agentId = args.agentId, incarnation = args.incarnation, sprint = args.sprint, taskId = args.taskId,
  attempt = args.attempt, outcome = args.outcome, status = args.detail,
})
return {'ok'}
