-- An operator does not want a task any more. An agent that has it in hand learns of it by the event, and by the record.
--
-- KEYS: 1 epic:state:<epic>  2 sprint:state:<sprint>  3 sprint:tasks:<sprint>  4 epic:sprints:<epic>
--       5 sprint:inbox:<sprint>
-- ARGV: 1 epic  2 sprint  3 format  4 task  5 the record that it has before its sprint begins  6 message for the coordinator
--       7 why
-- Returns: {'ok', agent that has it in hand, or ''} {'no_epic'} {'over'} (the sprint has ended)
--          {'settled', state} (it is over already)
-- Atomic; refuses before it writes. WRONGTYPE, with nothing written, where one of the keys holds another type.

if not fields_of(KEY.epic_state, 'status')[1] then return {'no_epic'} end
local wrong = wrong_type(KEY.sprint_state, 'hash', KEY.sprint_tasks, 'hash', KEY.epic_sprints, 'set', KEY.inbox, 'list')
if wrong then return wrong end
local task = task_record(KEY.sprint_tasks, ARGV[4]) or decode(ARGV[5])
if task.state ~= TASK_STATE.pending and task.state ~= TASK_STATE.assigned then return {'settled', task.state} end
if fields_of(KEY.sprint_state, 'outcome')[1] then return {'over'} end

local agent = task.state == TASK_STATE.assigned and task.agentId or nil
task.state, task.detail, task.notBefore = TASK_STATE.cancelled, ARGV[7], nil
task.endedAt = server_ms()
redis.call('SADD', KEY.epic_sprints, ARGV[2])
redis.call('HSET', KEY.sprint_state, 'epic', ARGV[1], 'sprint', ARGV[2])
redis.call('HSET', KEY.sprint_tasks, ARGV[4], encode(ARGV[3], task))
redis.call('RPUSH', KEY.inbox, ARGV[6])
publish(ARGV[3], EVENT.task_cancelled, {
  agentId = agent, incarnation = agent and task.incarnation or nil, sprint = ARGV[2], taskId = ARGV[4],
})
return {'ok', agent or ''}
