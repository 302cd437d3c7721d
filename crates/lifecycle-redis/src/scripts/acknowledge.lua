-- Somebody on the agent's host looked at its processes and at what it owned. Publishes what was proven, and adds it to the audit log.
--
-- KEYS: 1 agents:log
-- ARGV: 1 id  2 incarnation  3 process: dead, killed, left or unknown  4 who looked  5 format
--       6 about how many entries the log keeps  7 pids of the processes that it concerns, with spaces between ('' for none)
--       8… further fields of the entry and their values, in turn: what became of the things that the life owned
-- Returns: 1
-- Atomic. Flagged allow-oom: it belongs to a cleanup, which must work in a full store.

local fields = {'type', AUDIT.acknowledge, 'agentId', ARGV[1], 'incarnation', ARGV[2], 'process', ARGV[3], 'by', ARGV[4]}
local event = {agentId = ARGV[1], incarnation = ARGV[2], process = ARGV[3]}
if ARGV[7] ~= '' then
  fields[#fields + 1], fields[#fields + 2] = 'pids', ARGV[7]
  event.pids = {}
  for pid in string.gmatch(ARGV[7], '%d+') do event.pids[#event.pids + 1] = tonumber(pid) end
end
for i = 8, #ARGV do fields[#fields + 1] = ARGV[i] end
-- The pids are one field, because unpack() takes only so many values.
unless_mistyped('XADD', KEY.log, 'MAXLEN', '~', ARGV[6], '*', unpack(fields))
publish(ARGV[5], EVENT.cleanup_acknowledged, event)
return 1
