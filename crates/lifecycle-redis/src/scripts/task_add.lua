-- An operator adds tasks to a sprint of an epic that runs or waits. Tasks that are there already with the same content
-- stay as they are.
--
-- KEYS: 1 epic:state:<epic>  2 sprint:state:<sprint>  3 sprint:added:<sprint>  4 epic:sprints:<epic>
--       5 sprint:inbox:<sprint>
-- ARGV: 1 epic  2 sprint  3 format  4 '1' to look only  5… MessagePack maps of tasks, as in sprint:added (the number is
--       given here), and behind each the message for the coordinator
-- Returns: {'ok', how many were added} {'no_epic'} {'over'} (the sprint has ended) {'closed'} (an operator has closed it)
--          {'conflict', id} (another task has this id)
-- Atomic; refuses before it writes. WRONGTYPE, with nothing written, where one of the keys holds another type.

if not fields_of(KEY.epic_state, 'status')[1] then return {'no_epic'} end
local sprint = fields_of(KEY.sprint_state, 'outcome', 'closed')
if sprint[1] then return {'over'} end
if sprint[2] then return {'closed'} end
local wrong = wrong_type(KEY.sprint_state, 'hash', KEY.added, 'hash', KEY.epic_sprints, 'set', KEY.inbox, 'list')
if wrong then return wrong end

local function are_alike(one, other)
  for _, field in ipairs({'input', 'attempts', 'maxCrashes', 'retryBackoffMs', 'timeoutMs'}) do
    if one[field] ~= other[field] then return false end
  end
  return table.concat(one.needs or {}, ' ') == table.concat(other.needs or {}, ' ')
end

local new = {}
for i = 5, #ARGV, 2 do
  local task = cmsgpack.unpack(ARGV[i])
  local bytes = redis.call('HGET', KEY.added, task.id)
  local there = bytes and decode(bytes)
  if there and not are_alike(task, there) then return {'conflict', task.id} end
  if not there then new[#new + 1] = {task = task, message = ARGV[i + 1]} end
end
if ARGV[4] == '1' or #new == 0 then return {'ok', #new} end

redis.call('SADD', KEY.epic_sprints, ARGV[2])
redis.call('HSET', KEY.sprint_state, 'epic', ARGV[1], 'sprint', ARGV[2])
for _, one in ipairs(new) do
  one.task.number = redis.call('HINCRBY', KEY.sprint_state, 'added', 1)
  redis.call('HSET', KEY.added, one.task.id, encode(ARGV[3], one.task))
  redis.call('RPUSH', KEY.inbox, one.message)
end
publish(ARGV[3], EVENT.task_added, {sprint = ARGV[2], count = #new})
return {'ok', #new}
