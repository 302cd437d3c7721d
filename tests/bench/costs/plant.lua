-- Plants agents as they are after a while at work: registered, beating, with a task in hand and a dependency.
-- Six keys each: state, heartbeat, memory, keys, task, deps.
--
-- KEYS: 1 agents:active  2 agents:leases
-- ARGV: 1 first number  2 last number  3 end of lease in ms  4 time of the last beat in ms  5 incarnation
--       6 sprint  7… prefixes of the agents' keys: state, heartbeat, memory, keys, task, deps
-- Returns: how many were planted

for i = ARGV[1], ARGV[2] do
  local id = string.format('agent-%06d', i)
  local task = ARGV[11] .. id .. ':login'
  redis.call('SADD', KEYS[1], id)
  redis.call('ZADD', KEYS[2], ARGV[3], id)
  redis.call('HSET', ARGV[7] .. id, 'incarnation', ARGV[5], 'role', 'worker', 'kind', 'coder', 'host', 'host-1',
    'pid', i, 'state', 'busy', 'leaseMs', 120000, 'registeredAt', ARGV[4], 'sprint', ARGV[6])
  redis.call('SET', ARGV[8] .. id, string.format(
    '{"agentId":"%s","timestamp":%s,"pid":%d,"memoryUsage":{"rss":52428800,"heapTotal":20971520,"heapUsed":10485760,' ..
    '"external":1048576},"state":"busy"}', id, ARGV[4], i), 'EX', 3600)
  redis.call('HSET', ARGV[9] .. id, 'rss', 52428800, 'heapTotal', 20971520, 'heapUsed', 10485760,
    'external', 1048576, 'timestamp', ARGV[4])
  redis.call('EXPIRE', ARGV[9] .. id, 3600)
  redis.call('HSET', task, 'task', 'login', 'sprint', ARGV[6], 'incarnation', ARGV[5], 'run', 1, 'attempt', 1, 'maxAttempts', 3,
    'input', 'write the login endpoint', 'timeoutMs', 1200000, 'assignedAt', ARGV[4], 'started', ARGV[4])
  redis.call('SADD', ARGV[10] .. id, task)
  redis.call('SADD', ARGV[12] .. id, 'schema')
end
return ARGV[2] - ARGV[1] + 1
