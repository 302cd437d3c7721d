-- Task records, as scripts see them.

local function task_record(tasks_key, id)
  local bytes = unless_mistyped('HGET', tasks_key, id)
  local task = bytes and decode(bytes)
  -- An unknown state is no state to act on: the coordinator writes such a record anew.
  if task and TASK_STATE[task.state] then return task end
  return nil
end

-- Nil, or an error if one of these keys (name, type, name, type, …) holds another type; diagnosis.rs finds out which. A script
-- that fails half-way is not rolled back, so it calls this before it writes.
local function wrong_type(...)
  local wanted = {...}
  for i = 1, #wanted, 2 do
    local kind = redis.call('TYPE', wanted[i])['ok']
    if kind ~= 'none' and kind ~= wanted[i + 1] then
      return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
    end
  end
  return nil
end
