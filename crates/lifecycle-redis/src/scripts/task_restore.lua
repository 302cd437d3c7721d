-- Puts a task in flight back into a store that lost its memory.
--
-- KEYS: 1 agent:state:<agent>  2 lifecycle:generation  3 agent:task:<agent>:<task>  4 agent:keys:<agent>
-- ARGV: 1 id  2 incarnation  3 generation  4 task  5 sprint  6 attempt  7 max attempts  8 input  9 timeout ms
--       10 run
-- Returns: {'ok'} {'fenced'} {'unknown'}
-- Atomic.

local verdict = fence(KEYS[1], KEYS[2], ARGV[2], ARGV[3])
if verdict ~= 'ok' then return {verdict} end
-- Whatever somebody else has put under this name of ours.
if redis.call('TYPE', KEYS[3])['ok'] ~= 'hash' then redis.call('UNLINK', KEYS[3]) end
redis.call('HSET', KEYS[3], 'task', ARGV[4], 'sprint', ARGV[5], 'incarnation', ARGV[2], 'attempt', ARGV[6],
  'maxAttempts', ARGV[7], 'input', ARGV[8], 'timeoutMs', ARGV[9], 'run', ARGV[10], 'assignedAt', server_ms(), 'started', server_ms())
redis.call('SADD', KEYS[4], KEYS[3])
return {'ok'}
