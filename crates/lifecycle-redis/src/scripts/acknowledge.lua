-- Somebody on the agent's host looked at its processes: says so, and writes it down behind the cleanup it belongs to.
--
-- KEYS: 1 agents:log
-- ARGV: 1 id  2 incarnation  3 process: dead or killed  4 who looked  5 format  6 about how many entries the log keeps
-- Returns: 1
-- Atomic. Flagged allow-oom: it goes with a cleanup.

unless_mistyped('XADD', KEYS[1], 'MAXLEN', '~', ARGV[6], '*', 'type', 'acknowledge', 'agentId', ARGV[1],
  'incarnation', ARGV[2], 'process', ARGV[3], 'by', ARGV[4])
publish(ARGV[5], EVENT.cleanup_acknowledged, {agentId = ARGV[1], incarnation = ARGV[2], process = ARGV[3]})
return 1
