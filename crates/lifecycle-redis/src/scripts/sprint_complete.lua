-- Ends a sprint and removes all its records.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 agent:keys:<coordinator>  5 sprint:state:<sprint>
--       6 sprint:tasks:<sprint>  7 sprint:agents:<sprint>  8 sprint:requeue:<sprint>  9 epic:sprints:<epic>
--       10 sprint:inbox:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 sprint  4 epic  5 outcome  6 format  7 '1' to leave agents behind that are still
--       registered for it
-- Returns: {'ok', keys deleted} {'fenced'} {'unknown'} {'agents', id, …} (still registered for it: refused)
--          {'taken', coordinator} (it is not the caller's: refused)
-- Atomic. The sprint's own keys are removed whatever they hold; another type under a key of others stays.

local holder = fields_of(KEY.sprint_state, 'coordinator', 'incarnation')
if holder[1] and holder[2] ~= ARGV[1] then return {'taken', holder[1]} end
local left = redis.pcall('SMEMBERS', KEY.sprint_agents)
if left.err then left = {} end
if ARGV[7] ~= '1' and #left > 0 then return {'agents', unpack(left, 1, math.min(#left, 1000))} end
local deleted = redis.call('UNLINK', KEY.sprint_state, KEY.sprint_tasks, KEY.sprint_agents, KEY.requeue, KEY.inbox)
redis.pcall('SREM', KEY.owned, KEY.sprint_state, KEY.sprint_tasks, KEY.sprint_agents, KEY.requeue, KEY.inbox)
redis.pcall('SREM', KEY.epic_sprints, ARGV[3])
if redis.call('EXISTS', KEY.epic_sprints) == 0 then redis.pcall('SREM', KEY.owned, KEY.epic_sprints) end
publish(ARGV[6], EVENT.sprint_completed, {sprint = ARGV[3], epic = ARGV[4], outcome = ARGV[5], keysDeleted = deleted})
return {'ok', deleted}
