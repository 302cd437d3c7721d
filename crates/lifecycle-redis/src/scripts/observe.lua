-- One reading of the indexes: the leases that are over, and what a plan needs besides.
--
-- KEYS: 1 agents:active  2 agents:leases  3 sweep:watermark  4 sweep:hold  5 lifecycle:generation
-- ARGV: 1 most agents to return
-- Returns: {now, generation or '', active, leases, expired, {id, lease end, …}, watermark fields, hold fields,
--           end of the next lease or ''}
-- Reads only. Another type under the name of an index is refused; one under another name counts as nothing there. O(log n + batch).

local now = tostring(server_ms())
local next_lease = redis.call('ZRANGEBYSCORE', KEY.leases, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {
  now,
  unless_mistyped('GET', KEY.generation) or '',
  redis.call('SCARD', KEY.active),
  redis.call('ZCARD', KEY.leases),
  redis.call('ZCOUNT', KEY.leases, '-inf', now),
  redis.call('ZRANGEBYSCORE', KEY.leases, '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1]),
  unless_mistyped('HGETALL', KEY.watermark) or {},
  unless_mistyped('HGETALL', KEY.hold) or {},
  next_lease[2] or '',
}
