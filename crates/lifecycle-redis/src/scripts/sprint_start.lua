-- Puts a sprint's records into the store, or back into one that lost its memory.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 epic:state:<epic>  5 sprint:state:<sprint>
--       6 sprint:tasks:<sprint>  7 sprint:agents:<sprint>  8 sprint:requeue:<sprint>  9 epic:sprints:<epic>
--       10 agent:children:<coordinator>  11 agents:active  12 sprint:inbox:<sprint>
--       13 sprint:added:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 MessagePack map {coordinator, sprint, epic, format, agents (ids),
--         begins (whether it begins now; if not, only what is known of it is put there), flags (what operators asked for: field of sprint:state to text), added (how many tasks were added while the epic
--         ran)}
--       4… for each of the added tasks its id and what is to be done; behind them, for each task its id and its record
-- Returns: {'ok'} {'fenced'} {'unknown'} {'no_epic'} (the caller has not taken the epic, or the store lost that: take it)
-- Atomic. Records that are there already stay as they are. WRONGTYPE, with nothing written, where one of the keys holds
-- another type.

local args = cmsgpack.unpack(ARGV[3])
if fields_of(KEY.epic_state, 'incarnation')[1] ~= ARGV[1] then return {'no_epic'} end
local wrong = wrong_type(
  KEY.sprint_state, 'hash', KEY.sprint_tasks, 'hash', KEY.sprint_agents, 'set',
  KEY.requeue, 'list', KEY.epic_sprints, 'set', KEY.children, 'set', KEY.active, 'set', KEY.inbox, 'list',
  KEY.added, 'hash')
if wrong then return wrong end

-- Operators may have asked for something before it began.
local is_there = redis.call('HEXISTS', KEY.sprint_state, 'startedAt') == 1
if args.begins and not is_there then
  -- An earlier coordinator may have had it not run, because what it comes after had failed then.
  redis.call('HDEL', KEY.sprint_state, 'outcome', 'endedAt')
  redis.call('HSET', KEY.sprint_state, 'startedAt', server_ms())
end
redis.call('HSET', KEY.sprint_state, 'coordinator', args.coordinator, 'epic', args.epic, 'sprint', args.sprint)
redis.call('SADD', KEY.epic_sprints, args.sprint)
for field, value in pairs(args.flags) do redis.call('HSETNX', KEY.sprint_state, field, value) end
for i = 4, 3 + 2 * args.added, 2 do redis.call('HSETNX', KEY.added, ARGV[i], ARGV[i + 1]) end
for i = 4 + 2 * args.added, #ARGV, 2 do redis.call('HSETNX', KEY.sprint_tasks, ARGV[i], ARGV[i + 1]) end
for _, agent in ipairs(args.agents) do
  if redis.call('SISMEMBER', KEY.active, agent) == 1 then
    redis.call('SADD', KEY.sprint_agents, agent)
    redis.call('SADD', KEY.children, agent)
  end
end
if args.begins and not is_there then publish(args.format, EVENT.sprint_started, {sprint = args.sprint, epic = args.epic}) end
return {'ok'}
