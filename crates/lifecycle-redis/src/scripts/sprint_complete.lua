-- Ends a sprint: nothing of it is left.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 agent:keys:<coordinator>  4 sprint:state:<sprint>
--       5 sprint:tasks:<sprint>  6 sprint:agents:<sprint>  7 sprint:requeue:<sprint>  8 epic:sprints:<epic>
--       9 sprint:inbox:<sprint>
-- ARGV: 1 incarnation  2 generation  3 sprint  4 epic  5 outcome  6 format  7 '1' to leave agents behind that are still
--       registered for it
-- Returns: {'ok', keys deleted} {'fenced'} {'unknown'} {'agents', id, …} (still registered for it: refused)
--          {'taken', coordinator} (it is not the caller's: refused)
-- Atomic. The sprint's own keys go whatever they hold; another type under a key of others stays.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
local holder = fields_of(KEYS[4], 'coordinator', 'incarnation')
if holder[1] and holder[2] ~= ARGV[1] then return {'taken', holder[1]} end
local left = redis.pcall('SMEMBERS', KEYS[6])
if left.err then left = {} end
if ARGV[7] ~= '1' and #left > 0 then return {'agents', unpack(left, 1, math.min(#left, 1000))} end
local deleted = redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[9])
redis.pcall('SREM', KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[9])
redis.pcall('SREM', KEYS[8], ARGV[3])
if redis.call('EXISTS', KEYS[8]) == 0 then redis.pcall('SREM', KEYS[3], KEYS[8]) end
publish(ARGV[6], EVENT.sprint_completed, {sprint = ARGV[3], epic = ARGV[4], outcome = ARGV[5], keysDeleted = deleted})
return {'ok', deleted}
