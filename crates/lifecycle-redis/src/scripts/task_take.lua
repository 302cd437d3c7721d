-- The coordinator takes what has come in for a sprint. Runs from the requeue: each task waits again, or is given up once
-- its attempts or crashes are used up (no other place decides which). And the messages that operators left in the inbox.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 sprint:tasks:<sprint>  5 sprint:requeue:<sprint>
--       6 sprint:inbox:<sprint>  7 sprint:state:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 most of each  4 format
-- Returns: {'ok', {entry, …}, {message, …} (as they were queued), {field, value, …} (of sprint:state), now}
--          {'fenced'} {'unknown'}
-- Atomic. An entry for a run that is settled or unknown is dropped. WRONGTYPE, with nothing taken, where one of the keys
-- holds another type.

local wrong = wrong_type(KEY.sprint_tasks, 'hash', KEY.requeue, 'list', KEY.inbox, 'list', KEY.sprint_state, 'hash')
if wrong then return wrong end

-- How long a task waits before it is handed out again: twice as long after each failed run.
local function not_before(task, failures)
  local pause = tonumber(task.retryBackoffMs) or 0
  if pause == 0 or failures == 0 then return nil end
  return server_ms() + math.min(pause * 2 ^ math.min(failures - 1, 40), MAX_RETRY_BACKOFF)
end

local function taken_back(task, entry)
  local attempt, crashes = task.attempt, task.crashes or 0
  if entry.cost ~= COST.attempt and attempt > 0 then attempt = attempt - 1 end
  if entry.cost == COST.crash then crashes = crashes + 1 end
  local max_crashes = task.maxCrashes or crashes + 1
  local is_poison = crashes >= max_crashes
  local is_given_up = is_poison or attempt >= task.maxAttempts
  local detail = entry.reason
  if is_poison then
    detail = string.format('%d of the agents that ran it crashed (max_crashes = %d), the last one: %s', crashes,
      max_crashes, detail)
  end
  return {
    state = is_given_up and TASK_STATE.failed or TASK_STATE.pending, attempt = attempt, maxAttempts = task.maxAttempts,
    run = task.run, crashes = crashes, maxCrashes = max_crashes, agentId = is_given_up and entry.agentId or nil,
    detail = detail, retryBackoffMs = task.retryBackoffMs,
    notBefore = not is_given_up and entry.cost ~= COST.nothing and not_before(task, attempt + crashes) or nil,
  }
end

local returned = {}
for _ = 1, ARGV[3] do
  local bytes = redis.call('LPOP', KEY.requeue)
  if not bytes then break end
  local entry = decode(bytes)
  local task = entry and type(entry.taskId) == 'string' and task_record(KEY.sprint_tasks, entry.taskId)
  local is_current = task and task.state == TASK_STATE.assigned and task.agentId == entry.agentId and task.run == entry.run
  if is_current then
    redis.call('HSET', KEY.sprint_tasks, entry.taskId, encode(ARGV[4], taken_back(task, entry)))
    returned[#returned + 1] = bytes
  end
end
local messages = redis.call('LRANGE', KEY.inbox, 0, ARGV[3] - 1)
if #messages > 0 then redis.call('LTRIM', KEY.inbox, #messages, -1) end
return {'ok', returned, messages, redis.call('HGETALL', KEY.sprint_state), tostring(server_ms())}
