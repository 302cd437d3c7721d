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
--          {'expired', incarnation}                           an older life must be reaped first ('' : plain)
--          {'fenced'}                                         the life to take up was reaped or replaced
--          {'no_parent'} {'no_sprint'}                        the owner of the membership is not there
-- Atomic; refuses before it writes. Another type under the name of an index or of the generation is refused too: without
-- them nobody can tell who lives. Under any other name it costs what would have been written there and nothing else.

local args = cmsgpack.unpack(ARGV[1])
local now = server_ms()
local record = fields_of(KEYS[3], 'incarnation', 'host', 'pid', 'ended')
local lease = redis.call('ZSCORE', KEYS[2], args.agentId)
redis.call('SCARD', KEYS[1])
redis.call('HLEN', KEYS[3])
local generation = redis.call('GET', KEYS[4])

if args.again then
  local same = record[1] == args.again.incarnation and not record[4]
  if not same and (record[1] or generation == args.again.generation) then return {'fenced'} end
elseif record[1] or lease or redis.call('SISMEMBER', KEYS[1], args.agentId) == 1 then
  if lease and tonumber(lease) > now and not record[4] then
    return {'held', record[1] or '', record[2] or '', record[3] or '', lease, tostring(now)}
  end
  return {'expired', record[1] or ''}
end

-- In a store that lost its memory the owners come back in any order: each restores its own memberships.
local parent = args.hasParent and fields_of(KEYS[6], 'incarnation', 'ended') or {}
-- One that is being removed has told its children already.
local parent_there = parent[1] and not parent[2]
local sprint_there = args.hasSprint and redis.call('EXISTS', KEYS[8]) == 1
if not args.again then
  if args.hasParent and not parent_there then return {'no_parent'} end
  if args.hasSprint and not sprint_there then return {'no_sprint'} end
end

local incarnation
if args.again then
  incarnation = args.again.incarnation
else
  local time = redis.call('TIME')
  local last = tonumber(fields_of(KEYS[5], 'lastIncarnation')[1] or 0) or 0
  incarnation = string.format('%.0f', math.max(time[1] * 1000000 + time[2], last + 1))
end
unless_mistyped('HSET', KEYS[5], 'lastIncarnation', incarnation)
if not generation then
  generation = args.generation
  redis.call('SET', KEYS[4], generation)
end

-- The lease first: who stops here for want of a right leaves something that ends by itself, and no record without a lease.
redis.call('ZADD', KEYS[2], now + args.leaseMs, args.agentId)
redis.call('HSET', KEYS[3], 'incarnation', incarnation, 'registeredAt', now, 'generation', generation)
for name, value in pairs(args.fields) do redis.call('HSET', KEYS[3], name, value) end
if not record[1] then redis.pcall('HINCRBY', KEYS[5], 'agents', 1) end
redis.call('SADD', KEYS[1], args.agentId)
if parent_there then unless_mistyped('SADD', KEYS[7], args.agentId) end
if sprint_there then unless_mistyped('SADD', KEYS[9], args.agentId) end
publish(args.format, EVENT.agent_registered, {
  agentId = args.agentId, incarnation = incarnation, state = args.fields.state, sprint = args.fields.sprint,
})
return {'ok', incarnation, generation, tostring(now)}
