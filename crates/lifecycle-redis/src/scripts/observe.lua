-- One look at the indexes: whose lease is over, and what a plan must know besides.
--
-- KEYS: 1 agents:active  2 agents:leases  3 sweep:watermark  4 sweep:hold  5 lifecycle:generation
-- ARGV: 1 most agents to return
-- Returns: {now, generation or '', active, leases, expired, {id, lease end, …}, watermark fields, hold fields,
--           end of the next lease or ''}
-- Reads only. Another type under the name of an index is refused; one under another name counts as nothing there. O(log n + batch).

local now = tostring(server_ms())
local next_lease = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {
  now,
  unless_mistyped('GET', KEYS[5]) or '',
  redis.call('SCARD', KEYS[1]),
  redis.call('ZCARD', KEYS[2]),
  redis.call('ZCOUNT', KEYS[2], '-inf', now),
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1]),
  unless_mistyped('HGETALL', KEYS[3]) or {},
  unless_mistyped('HGETALL', KEYS[4]) or {},
  next_lease[2] or '',
}
