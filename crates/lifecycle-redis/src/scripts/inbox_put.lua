-- Leaves a message for the coordinator of a sprint.
--
-- KEYS: 1 sprint:state:<sprint>  2 sprint:inbox:<sprint>
-- ARGV: 1 sprint  2 the message  3 format  4 agent it is about  5 what is wanted, in a word
--       6 field of sprint:state that says so to later coordinators ('' for none)  7 its value ('' to remove it)
-- Returns: {'ok'} {'no_sprint'}
-- Atomic. The message is removed with the sprint. WRONGTYPE where the inbox holds another type.

local sprint = fields_of(KEY.sprint_state, 'startedAt', 'outcome')
if not sprint[1] or sprint[2] then return {'no_sprint'} end
local wrong = wrong_type(KEY.inbox, 'list')
if wrong then return wrong end
if ARGV[6] ~= '' and ARGV[7] ~= '' then
  redis.call('HSET', KEY.sprint_state, ARGV[6], ARGV[7])
elseif ARGV[6] ~= '' then
  redis.call('HDEL', KEY.sprint_state, ARGV[6])
end
redis.call('RPUSH', KEY.inbox, ARGV[2])
publish(ARGV[3], EVENT.agent_state_changed, {sprint = ARGV[1], agentId = ARGV[4], state = ARGV[5]})
return {'ok'}
