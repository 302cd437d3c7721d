-- Removes one agent from every index and unlinks exactly the keys it owns. Used by release.lua and reap.lua, which decide
-- beforehand whether it may happen. The named keys are followed by owned keys, and these by `memberships` many sets that
-- list the agent.
--
-- Another type stops it half-way only under the agent's own keys. Anything unforeseen (a missing right, say) stops it
-- before the record goes, so that the next pass finds the agent again and goes on.

-- Hands one task in flight back to its sprint, with what this run costs the task: nothing if the run was not begun. Without
-- a sprint (its coordinator is gone) the task is not handed back.
local function requeue(args, task_key)
  local task = fields_of(task_key, 'task', 'run', 'started', 'sprint', 'attempt')
  if not task[1] or not tonumber(task[2]) or not args.hasSprint then return false end
  if redis.call('EXISTS', KEY.sprint_state) == 0 or fields_of(KEY.sprint_state, 'outcome')[1] then return false end
  local handed_back = unless_mistyped('RPUSH', KEY.requeue, encode(args.format, {
    taskId = task[1], run = tonumber(task[2]), cost = task[3] and args.cost or COST.nothing, agentId = args.agentId,
    reason = args.reason,
  }))
  -- Another type stands under the requeue's name. The coordinator sees that, and takes the run back when its holder is
  -- gone.
  if not handed_back then return false end
  publish(args.format, EVENT.task_requeued, {
    agentId = args.agentId, incarnation = args.incarnation, sprint = task[4], taskId = task[1],
    attempt = tonumber(task[5]), reason = args.reason,
  })
  return true
end

-- Fields of the audit entry: the things that the life owned on its host and that nobody has undone. A host that comes back
-- can be told of them.
local function things_left(entry)
  local number = unless_mistyped('HLEN', KEY.things) or 0
  if number == 0 then return end
  local host = fields_of(KEY.state, 'host')[1] or ''
  entry[#entry + 1], entry[#entry + 2] = 'host', host
  local left = {}
  -- Somebody else may have put any number there.
  if number > MOST_THINGS then
    left[number .. ' things'] = 'too many to name'
  else
    for _, name in ipairs(redis.call('HKEYS', KEY.things)) do left[name] = 'nobody on its host has undone it' end
  end
  entry[#entry + 1], entry[#entry + 2] = 'thingsLeft', cjson.encode(left)
end

-- One step: removes at most the owned keys that were passed. First of all it marks the life as ended, so that nothing can
-- be added to it, and ends its lease, so that any sweeper goes on where this one stops.
-- Returns {'more', deleted, requeued} while there are further keys (or children that were not told yet).
-- Returns {'removed', deleted, requeued} once nothing is left.
local function remove(args)
  local prefix_length = string.len(args.taskPrefix)
  local deleted, requeued, names = 0, 0, {}
  local function count(key, number)
    deleted = deleted + number
    if number > 0 and #names < 64 then names[#names + 1] = key end
  end

  if not args.plain then
    unless_mistyped('ZADD', KEY.leases, server_ms(), args.agentId)
    redis.call('HSET', KEY.state, 'ended', args.reason)
  end

  -- Where another type stands under the name of its list, the agent's keys were found by their names.
  local list = redis.call('TYPE', KEY.keys)['ok']
  local is_found = args.plain or (list ~= 'set' and list ~= 'none')
  local first_set = #KEYS - args.memberships + 1
  for i = NAMED + 1, first_set - 1 do
    local key = KEYS[i]
    if is_found or redis.call('SISMEMBER', KEY.keys, key) == 1 then
      if not args.plain and string.sub(key, 1, prefix_length) == args.taskPrefix and requeue(args, key) then
        requeued = requeued + 1
      end
      count(key, redis.call('UNLINK', key))
      if not is_found then redis.call('SREM', KEY.keys, key) end
    end
  end

  if not args.plain then
    local before = fields_of(KEY.state, 'endedKeys', 'endedTasks')
    deleted = deleted + (tonumber(before[1] or 0) or 0)
    requeued = requeued + (tonumber(before[2] or 0) or 0)
    local told = args.childrenTold or redis.call('EXISTS', KEY.children) == 0
    if not told or (list == 'set' and redis.call('EXISTS', KEY.keys) == 1) then
      redis.call('HSET', KEY.state, 'endedKeys', deleted, 'endedTasks', requeued)
      return {'more', deleted, requeued}
    end
  end

  -- The records of its epic are the epic's, and wait for the next coordinator.
  if args.epic then
    local epic = fields_of(KEY.epic_state, 'incarnation', 'status')
    if epic[1] == args.incarnation and epic[2] == EPIC_STATUS.running then
      let_wait(KEY.epic_state, KEY.waiting, args.epic, args.format, args.reason)
    end
  end
  if args.hasSprint then unless_mistyped('SREM', KEY.sprint_agents, args.agentId) end
  if args.hasParent then unless_mistyped('SREM', KEY.parent_children, args.agentId) end
  for i = first_set, #KEYS do unless_mistyped('SREM', KEYS[i], args.agentId) end
  local entry = {}
  things_left(entry)
  for _, key in ipairs({KEY.heartbeat, KEY.memory, KEY.deps, KEY.children, KEY.keys, KEY.things, KEY.command}) do
    count(key, redis.call('UNLINK', key))
  end
  if args.token and unless_mistyped('GET', KEY.lock) == args.token then redis.call('UNLINK', KEY.lock) end
  count(KEY.state, redis.call('EXISTS', KEY.state))

  unless_mistyped('XADD', KEY.log, 'MAXLEN', '~', args.logLength, '*',
    'type', args.entry, 'agentId', args.agentId, 'incarnation', args.incarnation, 'reason', args.reason,
    'process', args.process or PROCESS_FATE.unknown, 'by', args.by, 'keysDeleted', deleted, 'tasksRequeued', requeued,
    'keys', table.concat(names, ' '), unpack(entry))
  local incarnation = args.incarnation
  if args.plain then incarnation = nil end
  publish(args.format, args.event, {
    agentId = args.agentId, incarnation = incarnation, reason = args.reason, process = args.process,
    keysDeleted = deleted, tasksRequeued = requeued,
  })
  -- Plain agents were never counted. Another type under the name of the counters must not keep a removal from its end.
  if not args.plain then redis.pcall('HINCRBY', KEY.stats, 'agents', -1) end
  redis.pcall('HINCRBY', KEY.stats, 'keysDeleted', deleted)
  unless_mistyped('SREM', KEY.active, args.agentId)
  unless_mistyped('ZREM', KEY.leases, args.agentId)
  redis.call('UNLINK', KEY.state)
  return {'removed', deleted, requeued}
end
