-- The coordinator takes what has come in for a sprint. Runs from the requeue: each task waits again, or is given up
-- once it has used up its attempts or its crashes (this is the one place that decides which). And what operators left
-- for it in the inbox.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 sprint:tasks:<sprint>  4 sprint:requeue:<sprint>
--       5 sprint:inbox:<sprint>  6 sprint:state:<sprint>
-- ARGV: 1 incarnation  2 generation  3 most of each  4 format
-- Returns: {'ok', {entry, …}, {message, …}} (as they were queued) {'fenced'} {'unknown'}
-- Atomic. An entry for a run that is settled, or that nobody knows, is dropped. WRONGTYPE, with nothing taken, where one
-- of the keys holds something else.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
local wrong = wrong_type(KEYS[3], 'hash', KEYS[4], 'list', KEYS[5], 'list', KEYS[6], 'hash')
if wrong then return wrong end

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
    detail = detail,
  }
end

local returned = {}
for _ = 1, ARGV[3] do
  local bytes = redis.call('LPOP', KEYS[4])
  if not bytes then break end
  local entry = decode(bytes)
  local task = entry and type(entry.taskId) == 'string' and task_record(KEYS[3], entry.taskId)
  local is_current = task and task.state == TASK_STATE.assigned and task.agentId == entry.agentId and task.run == entry.run
  if is_current then
    redis.call('HSET', KEYS[3], entry.taskId, encode(ARGV[4], taken_back(task, entry)))
    returned[#returned + 1] = bytes
  end
end
local messages = redis.call('LRANGE', KEYS[5], 0, ARGV[3] - 1)
if #messages > 0 then redis.call('LTRIM', KEYS[5], #messages, -1) end
return {'ok', returned, messages}
