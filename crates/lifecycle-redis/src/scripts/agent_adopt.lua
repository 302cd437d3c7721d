-- A coordinator adopts a living agent of an earlier coordinator of its epic.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 agent:state:<agent>  5 agent:command:<agent>
--       6 agent:children:<coordinator>
-- ARGV: 1–2 as in lib/fenced.lua  3 agent  4 its incarnation  5 coordinator  6 reason of the order to end that comes with the
--       loss of a coordinator  7 format
-- Returns: {'ok'} {'fenced'} {'unknown'} (the coordinator) {'gone'} (that life is not there, or not this coordinator's)
-- Atomic; refuses before it writes. An order of anybody else stays.

local agent = fields_of(KEY.agent_state, 'incarnation', 'ended', 'parent')
if agent[1] ~= ARGV[4] or agent[2] or agent[3] ~= ARGV[5] then return {'gone'} end
redis.call('HSET', KEY.agent_state, 'adoptedBy', ARGV[1])
unless_mistyped('SADD', KEY.children, ARGV[3])
local pending = unless_mistyped('GET', KEY.command)
if pending and string.match(pending, '%S+$') == ARGV[6] then redis.call('UNLINK', KEY.command) end
publish(ARGV[7], EVENT.agent_adopted, {agentId = ARGV[3], incarnation = ARGV[4], by = ARGV[1]})
return {'ok'}
