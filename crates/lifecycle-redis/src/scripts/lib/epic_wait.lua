-- Lets an epic wait for a coordinator, from now on for as long as its last one said.
local function let_wait(state_key, waiting_key, epic, format, reason)
  local now = server_ms()
  local kept_until = string.format('%.0f', now + (tonumber(fields_of(state_key, 'keepMs')[1]) or 0))
  redis.call('HSET', state_key, 'status', EPIC_STATUS.waiting, 'waitingSince', now, 'keptUntil', kept_until)
  unless_mistyped('ZADD', waiting_key, kept_until, epic)
  publish(format, EVENT.epic_waiting, {epic = epic, reason = reason})
end
