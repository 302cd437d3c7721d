-- Puts a sprint's records into the store, or back into one that lost its memory.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 agent:keys:<coordinator>  5 sprint:state:<sprint>
--       6 sprint:tasks:<sprint>  7 sprint:agents:<sprint>  8 sprint:requeue:<sprint>  9 epic:sprints:<epic>
--       10 agent:children:<coordinator>  11 agents:active  12 sprint:inbox:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 MessagePack map {coordinator, sprint, epic, format, agents (ids)}
--       4… task id, then its record
-- Returns: {'ok'} {'fenced'} {'unknown'} {'taken', coordinator} (another coordinator runs a sprint of this name)
-- Atomic. Records that are there already stay as they are. WRONGTYPE, with nothing written, where one of the keys holds
-- another type.

local args = cmsgpack.unpack(ARGV[3])
local wrong = wrong_type(
  KEY.owned, 'set', KEY.sprint_state, 'hash', KEY.sprint_tasks, 'hash', KEY.sprint_agents, 'set',
  KEY.requeue, 'list', KEY.epic_sprints, 'set', KEY.children, 'set', KEY.active, 'set', KEY.inbox, 'list')
if wrong then return wrong end
local holder = redis.call('HGET', KEY.sprint_state, 'coordinator')
if holder and holder ~= args.coordinator then return {'taken', holder} end

redis.call('SADD', KEY.owned, KEY.sprint_state, KEY.sprint_tasks, KEY.sprint_agents, KEY.requeue, KEY.epic_sprints, KEY.inbox)
redis.call('HSET', KEY.sprint_state, 'coordinator', args.coordinator, 'incarnation', ARGV[1], 'epic', args.epic,
  'sprint', args.sprint, 'tasks', (#ARGV - 3) / 2, 'startedAt', server_ms())
redis.call('SADD', KEY.epic_sprints, args.sprint)
for i = 4, #ARGV, 2 do redis.call('HSETNX', KEY.sprint_tasks, ARGV[i], ARGV[i + 1]) end
for _, agent in ipairs(args.agents) do
  if redis.call('SISMEMBER', KEY.active, agent) == 1 then
    redis.call('SADD', KEY.sprint_agents, agent)
    redis.call('SADD', KEY.children, agent)
  end
end
if not holder then publish(args.format, EVENT.sprint_started, {sprint = args.sprint, epic = args.epic}) end
return {'ok'}
