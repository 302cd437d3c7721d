-- An operator pauses, resumes or closes a sprint of an epic that runs or waits.
--
-- KEYS: 1 epic:state:<epic>  2 sprint:state:<sprint>  3 epic:sprints:<epic>  4 sprint:inbox:<sprint>
-- ARGV: 1 epic  2 sprint  3 format  4 field of sprint:state  5 '1' to set it, '0' to remove it  6 message for the
--       coordinator  7 what is wanted, in a word
-- Returns: {'ok'} {'same'} (it is so already) {'no_epic'} {'over'} (the sprint has ended)
-- Atomic; refuses before it writes. WRONGTYPE where one of the keys holds another type.

if not fields_of(KEY.epic_state, 'status')[1] then return {'no_epic'} end
local wrong = wrong_type(KEY.sprint_state, 'hash', KEY.epic_sprints, 'set', KEY.inbox, 'list')
if wrong then return wrong end
local sprint = fields_of(KEY.sprint_state, 'outcome', ARGV[4])
if sprint[1] then return {'over'} end
if (sprint[2] and '1' or '0') == ARGV[5] then return {'same'} end

redis.call('SADD', KEY.epic_sprints, ARGV[2])
redis.call('HSET', KEY.sprint_state, 'epic', ARGV[1], 'sprint', ARGV[2])
if ARGV[5] == '1' then
  redis.call('HSET', KEY.sprint_state, ARGV[4], server_ms())
else
  redis.call('HDEL', KEY.sprint_state, ARGV[4])
end
redis.call('RPUSH', KEY.inbox, ARGV[6])
publish(ARGV[3], EVENT.sprint_changed, {sprint = ARGV[2], state = ARGV[7]})
return {'ok'}
