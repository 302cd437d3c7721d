-- Removes an epic that waits for a coordinator, and writes that into the audit log: a sweeper one that has waited for longer
-- than it is kept, an operator any.
--
-- KEYS: 1 epic:state:<epic>  2 epics:waiting  3 epics:history  4 epic:sprints:<epic>  5 agents:log  6… all keys of its
--       sprints
-- ARGV: 1 epic  2 outcome  3 reason  4 format  5 about how many entries the history keeps  6 the same of the log
--       7 who removes it  8 type of the audit entry  9 '1' only if it has waited for longer than it is kept
-- Returns: {'ok', keys deleted} {'gone'} (it does not wait, or not for long enough)
-- Atomic. Flagged allow-oom: it removes.

local record = fields_of(KEY.epic_state, 'status', 'keptUntil', 'coordinator')
if not record[1] then
  -- Only the entry is left.
  unless_mistyped('ZREM', KEY.waiting, ARGV[1])
  return {'gone'}
end
if record[1] ~= EPIC_STATUS.waiting then return {'gone'} end
if ARGV[9] == '1' and (tonumber(record[2]) or 0) > server_ms() then return {'gone'} end
local deleted = end_epic(ARGV[1], ARGV[2], ARGV[3], ARGV[4], {}, ARGV[5])
unless_mistyped('XADD', KEY.log, 'MAXLEN', '~', ARGV[6], '*', 'type', ARGV[8], 'agentId', record[3] or '',
  'epic', ARGV[1], 'reason', ARGV[3], 'by', ARGV[7], 'keysDeleted', deleted)
return {'ok', deleted}
