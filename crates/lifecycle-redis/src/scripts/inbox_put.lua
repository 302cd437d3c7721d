-- Leaves a message for the coordinator of a sprint.
--
-- KEYS: 1 sprint:state:<sprint>  2 sprint:inbox:<sprint>
-- ARGV: 1 sprint  2 the message  3 format  4 agent it is about  5 what is wanted, in a word
-- Returns: {'ok'} {'no_sprint'}
-- Atomic. The message is removed with the sprint. WRONGTYPE where the inbox holds another type.

if redis.call('EXISTS', KEY.sprint_state) == 0 or fields_of(KEY.sprint_state, 'outcome')[1] then return {'no_sprint'} end
local wrong = wrong_type(KEY.inbox, 'list')
if wrong then return wrong end
redis.call('RPUSH', KEY.inbox, ARGV[2])
publish(ARGV[3], EVENT.agent_state_changed, {sprint = ARGV[1], agentId = ARGV[4], state = ARGV[5]})
return {'ok'}
