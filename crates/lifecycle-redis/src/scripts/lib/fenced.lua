-- Every write of a life begins with this: KEYS 1 agent:state:<id of the writer> 2 lifecycle:generation 3 memory:stats,
-- ARGV 1 incarnation 2 generation. The script goes on only if that life may write.

local verdict = fence(ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
