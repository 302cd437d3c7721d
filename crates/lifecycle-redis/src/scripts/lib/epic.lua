-- The end of an epic: removes all its records and writes one entry into the history. The keys of its sprints follow the
-- named ones. Used by epic_end.lua and epic_remove.lua, which decide beforehand whether it may happen.
local function end_epic(epic, outcome, reason, format, entry, history_length)
  local record = fields_of(KEY.epic_state, 'epoch', 'coordinator', 'startedAt', 'planHash')
  local deleted = redis.call('UNLINK', KEY.epic_state, KEY.epic_sprints)
  for i = NAMED + 1, #KEYS do deleted = deleted + redis.call('UNLINK', KEYS[i]) end
  unless_mistyped('ZREM', KEY.waiting, epic)
  local fields = {'epic', epic, 'outcome', outcome, 'epoch', record[1] or '', 'coordinator', record[2] or '',
    'startedAt', record[3] or '', 'planHash', record[4] or '', 'keysDeleted', deleted}
  if reason ~= '' then fields[#fields + 1], fields[#fields + 2] = 'reason', reason end
  for name, value in pairs(entry) do fields[#fields + 1], fields[#fields + 2] = name, value end
  unless_mistyped('XADD', KEY.history, 'MAXLEN', '~', history_length, '*', unpack(fields))
  publish(format, EVENT.epic_ended, {
    epic = epic, outcome = outcome, reason = reason ~= '' and reason or nil, keysDeleted = deleted,
  })
  return deleted
end
