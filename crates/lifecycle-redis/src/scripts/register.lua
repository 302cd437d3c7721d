-- Begins a life of an agent, or takes one up again in a store that lost its memory.
--
-- KEYS: 1 agents:active  2 agents:leases  3 agent:state:<id>  4 lifecycle:generation  5 memory:stats
--       6 agent:state:<parent> or 3  7 agent:children:<parent> or 3  8 sprint:state:<sprint> or 3
--       9 sprint:agents:<sprint> or 3
-- ARGV: 1 MessagePack map {agentId, format, leaseMs, generation (to set if there is none),
--         fields (of the record, text to text), hasParent, hasSprint,
--         again (nil, or {incarnation, generation} of the life to take up)}
-- Returns: {'ok', incarnation, generation, now}
--          {'held', incarnation, host, pid, lease end, now}   the id is alive (incarnation '' : a plain agent)
--          {'expired', incarnation}                           an older life must be reaped first ('' : plain); a store
--                                                             that was rolled back can have one of a life to take up
--          {'fenced'}                                         the life to take up was reaped or replaced
--          {'no_parent'} {'no_sprint'}                        the owner of the membership is not there
-- Atomic; refuses before it writes. Another type under the name of an index or of the generation is refused, because
-- without them it cannot be told who lives. Under any other name it costs only what would have been written there.

-- Hands out the number of a new life, or takes in the number of a life that is taken up. Returns it and the generation.
--
-- The numbers go up with time. A server that was started since the last registration may have lost the end of its data. The
-- numbers between the last one it remembers and now are a gap, of which it knows nothing. The gap is written down with a
-- new generation, because the registrations that follow would hide it. The same happens if a number is brought that was
-- never handed out, and in an empty store.
local function begin(args, generation)
  local function whole(number) return string.format('%.0f', number) end
  local stats = fields_of(KEY.stats, 'lastIncarnation', 'server', 'gaps')
  local last, time = tonumber(stats[1]) or 0, redis.call('TIME')
  local again = args.again and tonumber(args.again.incarnation)
  local next_number = math.max(time[1] * 1000000 + time[2], last + 1, (again or 0) + 1)
  local info = redis.pcall('INFO', 'server')
  local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
  local was_started = server ~= '' and server ~= stats[2]
  if not generation or (last > 0 and (was_started or (again or 0) > last)) then
    local gaps = {}
    for gap in string.gmatch(stats[3] or '', '%S+') do gaps[#gaps + 1] = gap end
    gaps[#gaps + 1] = whole(generation and last or 0) .. '-' .. whole(next_number) .. '-' .. args.generation
    generation = args.generation
    redis.call('SET', KEY.generation, generation)
    redis.pcall('HSET', KEY.stats, 'gaps', table.concat(gaps, ' ', math.max(1, #gaps - GAPS_KEPT + 1)))
    last = next_number - 1
  end
  local incarnation = again and args.again.incarnation or whole(next_number)
  redis.pcall('HSET', KEY.stats, 'lastIncarnation', whole(math.max(tonumber(incarnation), last)))
  -- A user that may not ask the server for its name leaves what others found.
  if server ~= '' then redis.pcall('HSET', KEY.stats, 'server', server) end
  return incarnation, generation
end

local args = cmsgpack.unpack(ARGV[1])
local now = server_ms()
local record = fields_of(KEY.state, 'incarnation', 'host', 'pid', 'ended')
local lease = redis.call('ZSCORE', KEY.leases, args.agentId)
redis.call('SCARD', KEY.active)
redis.call('HLEN', KEY.state)
local generation = redis.call('GET', KEY.generation)

if args.again then
  local own = args.again.incarnation
  if record[1] == own then
    if record[4] then return {'fenced'} end
  else
    local is_older = record[1] and tonumber(record[1]) and tonumber(record[1]) < tonumber(own)
    if record[1] and not is_older then return {'fenced'} end
    if not is_forgotten(own, args.again.generation) then return {'fenced'} end
    -- Tasks and keys of an earlier life are handed on, not inherited. So that life has to be reaped first.
    if record[1] then return {'expired', record[1]} end
  end
elseif record[1] or lease or redis.call('SISMEMBER', KEY.active, args.agentId) == 1 then
  if lease and tonumber(lease) > now and not record[4] then
    -- A lease that ends later than its length allows was written before the clock was set back.
    local length = tonumber(redis.call('HGET', KEY.state, 'leaseMs') or '') or args.leaseMs
    local lease_end = string.format('%.0f', math.min(tonumber(lease), now + length))
    return {'held', record[1] or '', record[2] or '', record[3] or '', lease_end, tostring(now)}
  end
  return {'expired', record[1] or ''}
end

-- In a store that lost its memory the owners come back in any order, and each restores its own memberships.
local parent = args.hasParent and fields_of(KEY.parent_state, 'incarnation', 'ended') or {}
-- A parent that is being removed has told its children already, and would not tell this one.
local parent_there = parent[1] and not parent[2]
-- A sprint that is over keeps its record until its epic ends.
local sprint = args.hasSprint and fields_of(KEY.sprint_state, 'startedAt', 'outcome') or {}
local sprint_type = args.hasSprint and redis.call('TYPE', KEY.sprint_state)['ok']
-- Another type under its name must not keep its agents from registering.
local sprint_there = (sprint[1] and not sprint[2]) or (sprint_type and sprint_type ~= 'none' and sprint_type ~= 'hash')
if not args.again then
  if args.hasParent and not parent_there then return {'no_parent'} end
  if args.hasSprint and not sprint_there then return {'no_sprint'} end
end

local incarnation
incarnation, generation = begin(args, generation)

-- The lease first: a script that stops here for want of a right leaves a lease that ends, and no record without a lease.
redis.call('ZADD', KEY.leases, now + args.leaseMs, args.agentId)
redis.call('HSET', KEY.state, 'incarnation', incarnation, 'registeredAt', now, 'steadySince', now,
  'generation', generation)
for name, value in pairs(args.fields) do redis.call('HSET', KEY.state, name, value) end
-- Another type under the name of the counters must not keep an agent from registering.
if not record[1] then redis.pcall('HINCRBY', KEY.stats, 'agents', 1) end
redis.call('SADD', KEY.active, args.agentId)
if parent_there then unless_mistyped('SADD', KEY.parent_children, args.agentId) end
if sprint_there then unless_mistyped('SADD', KEY.sprint_agents, args.agentId) end
publish(args.format, EVENT.agent_registered, {
  agentId = args.agentId, incarnation = incarnation, state = args.fields.state, sprint = args.fields.sprint,
})
if args.fields.pool and sprint_there then
  publish(args.format, EVENT.agent_joined, {
    agentId = args.agentId, incarnation = incarnation, sprint = args.fields.sprint, pool = args.fields.pool,
  })
end
return {'ok', incarnation, generation, tostring(now)}
