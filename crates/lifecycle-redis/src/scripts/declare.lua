-- Adds names to one of the agent's own sets: further keys it owns (so that cleanup never has to search), or what it
-- depends on.
--
-- KEYS: 1 agent:state:<id>  2 lifecycle:generation  3 agent:keys:<id> or agent:deps:<id>
-- ARGV: 1 incarnation  2 generation  3… names
-- Returns: {'ok'} {'fenced'} {'unknown'}
-- Atomic. Does not touch what the names name.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict == 'ok' then redis.call('SADD', KEYS[3], unpack(ARGV, 3)) end
return {verdict}
