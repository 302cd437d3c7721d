-- Ends a sprint. Its tasks' records and how it ended stay with the epic until that ends.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 epic:state:<epic>  5 sprint:state:<sprint>
--       6 sprint:agents:<sprint>  7 sprint:requeue:<sprint>  8 sprint:inbox:<sprint>  9 epic:sprints:<epic>
-- ARGV: 1–2 as in lib/fenced.lua  3 sprint  4 epic  5 outcome  6 format  7 '1' to leave agents behind that are still
--       registered for it  8 '1' to end it whatever has come for it meanwhile
-- Returns: {'ok', keys deleted} {'fenced'} {'unknown'} {'agents', id, …} (still registered for it: refused)
--          {'more'} (something has come for it that the coordinator does not know of: refused)
--          {'no_epic'} (the caller has not taken the epic, or the store lost that: take it)
-- Atomic. The sprint's own keys are removed whatever they hold; where another type stands under its state, nothing is left
-- to say how it ended.

if fields_of(KEY.epic_state, 'incarnation')[1] ~= ARGV[1] then return {'no_epic'} end
if ARGV[8] ~= '1' and (unless_mistyped('LLEN', KEY.inbox) or 0) > 0 then return {'more'} end
local left = redis.pcall('SMEMBERS', KEY.sprint_agents)
if left.err then left = {} end
if ARGV[7] ~= '1' and #left > 0 then return {'agents', unpack(left, 1, math.min(#left, 1000))} end
local deleted = redis.call('UNLINK', KEY.sprint_agents, KEY.requeue, KEY.inbox)
-- One that will not run has not begun, and its record is the epic's all the same.
unless_mistyped('SADD', KEY.epic_sprints, ARGV[3])
unless_mistyped('HSET', KEY.sprint_state, 'epic', ARGV[4], 'outcome', ARGV[5], 'endedAt', server_ms())
publish(ARGV[6], EVENT.sprint_completed, {sprint = ARGV[3], epic = ARGV[4], outcome = ARGV[5], keysDeleted = deleted})
return {'ok', deleted}
