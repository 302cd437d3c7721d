-- Puts a sprint's records into the store, or back into one that lost its memory.
--
-- KEYS: 1 agent:state:<coordinator>  2 lifecycle:generation  3 agent:keys:<coordinator>  4 sprint:state:<sprint>
--       5 sprint:tasks:<sprint>  6 sprint:agents:<sprint>  7 sprint:requeue:<sprint>  8 epic:sprints:<epic>
--       9 agent:children:<coordinator>  10 agents:active  11 sprint:inbox:<sprint>
-- ARGV: 1 MessagePack map {coordinator, incarnation, generation, sprint, epic, format, agents (ids)}
--       2… task id, then its record
-- Returns: {'ok'} {'fenced'} {'unknown'} {'taken', coordinator} (another coordinator runs a sprint of this name)
-- Atomic. Records that are there already stay as they are. WRONGTYPE, with nothing written, where one of the keys holds
-- something else.

local args = cmsgpack.unpack(ARGV[1])
local verdict = fence(KEYS[1], KEYS[2], args.incarnation, args.generation)
if verdict ~= 'ok' then return {verdict} end
local wrong = wrong_type(KEYS[3], 'set', KEYS[4], 'hash', KEYS[5], 'hash', KEYS[6], 'set', KEYS[7], 'list', KEYS[8], 'set',
  KEYS[9], 'set', KEYS[10], 'set', KEYS[11], 'list')
if wrong then return wrong end
local holder = redis.call('HGET', KEYS[4], 'coordinator')
if holder and holder ~= args.coordinator then return {'taken', holder} end

redis.call('SADD', KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[11])
redis.call('HSET', KEYS[4], 'coordinator', args.coordinator, 'incarnation', args.incarnation, 'epic', args.epic,
  'sprint', args.sprint, 'tasks', (#ARGV - 1) / 2, 'startedAt', server_ms())
redis.call('SADD', KEYS[8], args.sprint)
for i = 2, #ARGV, 2 do redis.call('HSETNX', KEYS[5], ARGV[i], ARGV[i + 1]) end
for _, agent in ipairs(args.agents) do
  if redis.call('SISMEMBER', KEYS[10], agent) == 1 then
    redis.call('SADD', KEYS[6], agent)
    redis.call('SADD', KEYS[9], agent)
  end
end
if not holder then publish(args.format, EVENT.sprint_started, {sprint = args.sprint, epic = args.epic}) end
return {'ok'}
