-- Declares further keys as the agent's own, or gives them up, so that cleanup never has to search.
--
-- KEYS: 1 agent:state:<id>  2 lifecycle:generation  3 agent:keys:<id>
-- ARGV: 1 incarnation  2 generation  3 'own' or 'disown'  4… key names
-- Returns: {'ok'} {'fenced'} {'unknown'}
-- Atomic. Does not touch the keys themselves.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict == 'ok' then redis.call(ARGV[3] == 'own' and 'SADD' or 'SREM', KEYS[3], unpack(ARGV, 4)) end
return {verdict}
