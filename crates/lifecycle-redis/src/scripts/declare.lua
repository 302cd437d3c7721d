-- Adds names to one of the agent's own sets: keys that it owns (so that cleanup never has to search), or what it depends
-- on.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<id>)  4 agent:keys:<id> or agent:deps:<id>
-- ARGV: 1–2 as in lib/fenced.lua  3… names
-- Returns: {'ok'} {'fenced'} {'unknown'}
-- Atomic. Does not touch the keys that the names stand for.

redis.call('SADD', KEY.names, unpack(ARGV, 3))
return {'ok'}
