-- An operator wants tasks done that were given up or cancelled: they wait again, with all their attempts.
--
-- KEYS: 1 epic:state:<epic>  2 sprint:state:<sprint>  3 sprint:tasks:<sprint>  4 sprint:inbox:<sprint>
--       5 agent:task:<agent>:<task> of the agent that had the first of them last; or 4
-- ARGV: 1 sprint  2 format  3… task, and the message for the coordinator
-- Returns: {'ok', how many wait again} {'no_epic'} {'over'} (the sprint has ended)
--          {'state', task, state} (the first of them is not given up) {'held', agent} (it was cancelled in hand, and that
--          agent has not ended the work yet: two runs of one task must not meet)
-- Atomic; refuses before it writes. Further tasks that are not given up stay as they are. The number of the run goes up, so
-- that the record is ahead of the one that the coordinator has read. WRONGTYPE where one of the keys holds another type.

if not fields_of(KEY.epic_state, 'status')[1] then return {'no_epic'} end
local wrong = wrong_type(KEY.sprint_tasks, 'hash', KEY.inbox, 'list')
if wrong then return wrong end
local first = task_record(KEY.sprint_tasks, ARGV[3])
local function is_lost(task) return task and (task.state == TASK_STATE.failed or task.state == TASK_STATE.cancelled) end
if not is_lost(first) then return {'state', ARGV[3], first and first.state or TASK_STATE.pending} end
if fields_of(KEY.sprint_state, 'outcome')[1] then return {'over'} end
if KEY.held ~= KEY.inbox and tonumber(fields_of(KEY.held, 'run')[1]) == first.run then
  return {'held', first.agentId or ''}
end

local done = 0
for i = 3, #ARGV, 2 do
  local task = task_record(KEY.sprint_tasks, ARGV[i])
  if is_lost(task) then
    redis.call('HSET', KEY.sprint_tasks, ARGV[i], encode(ARGV[2], {
      state = TASK_STATE.pending, run = task.run + 1, attempt = 0, maxAttempts = task.maxAttempts, crashes = 0,
      maxCrashes = task.maxCrashes, retryBackoffMs = task.retryBackoffMs,
    }))
    redis.call('RPUSH', KEY.inbox, ARGV[i + 1])
    done = done + 1
  end
end
publish(ARGV[2], EVENT.task_retried, {sprint = ARGV[1], count = done})
return {'ok', done}
