-- The coordinator takes tasks back from the requeue: each waits again, or is given up once its attempts are used
-- up. This is the one place that decides which.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 sprint:tasks:<sprint>  4 sprint:requeue:<sprint>
-- ARGV: 1 incarnation  2 generation  3 most entries  4 format
-- Returns: {'ok', entry, …} (as they were queued) {'fenced'} {'unknown'}
-- Atomic. An entry for a task that is settled, or that nobody knows, is dropped.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
local reply = {'ok'}
for _ = 1, ARGV[3] do
  local bytes = redis.call('LPOP', KEYS[4])
  if not bytes then break end
  local entry = decode(bytes)
  local task = entry and decode(redis.call('HGET', KEYS[3], entry.taskId) or '')
  if task and task.state == 'assigned' and task.agentId == entry.agentId then
    local given_up = entry.attempt >= task.maxAttempts
    redis.call('HSET', KEYS[3], entry.taskId, encode(ARGV[4], {
      state = given_up and 'failed' or 'pending', attempt = entry.attempt, maxAttempts = task.maxAttempts,
      agentId = given_up and entry.agentId or nil, detail = entry.reason,
    }))
    reply[#reply + 1] = bytes
  end
end
return reply
