-- Lets an epic wait for a coordinator, from now on for as long as its last one said.
local function let_wait(state_key, waiting_key, epic, format, reason)
  local now = server_ms()
  local record = fields_of(state_key, 'keepMs', 'cancelledAt')
  -- Nobody waits for one that an operator has cancelled: the next pass of a sweeper removes it.
  local keep = record[2] and 0 or tonumber(record[1]) or 0
  local kept_until = string.format('%.0f', now + keep)
  redis.call('HSET', state_key, 'status', EPIC_STATUS.waiting, 'waitingSince', now, 'keptUntil', kept_until)
  unless_mistyped('ZADD', waiting_key, kept_until, epic)
  publish(format, EVENT.epic_waiting, {epic = epic, reason = reason})
end
