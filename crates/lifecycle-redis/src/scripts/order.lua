-- Gives an agent an order. The agent learns of it in the reply to its next beat; the event makes that beat come at once.
--
-- KEYS: 1 agent:state:<id>  2 agent:command:<id>
-- ARGV: 1 id  2 incarnation ('' for whichever is alive)  3 order  4 why  5 format
-- Returns: {'ok', incarnation} {'gone'}
-- Atomic. A later drain does not soften a terminate order.

local record = fields_of(KEY.state, 'incarnation', 'ended')
if not record[1] or record[2] or (ARGV[2] ~= '' and record[1] ~= ARGV[2]) then return {'gone'} end
local pending = unless_mistyped('GET', KEY.command)
local softens = ARGV[3] == ORDER.drain and pending and string.match(pending, '^%S+') == ORDER.terminate
if not softens then
  redis.call('SET', KEY.command, ARGV[3] .. ' ' .. ARGV[4])
end
publish(ARGV[5], EVENT.agent_state_changed, {agentId = ARGV[1], incarnation = record[1], state = ARGV[3], reason = ARGV[4]})
return {'ok', record[1]}
