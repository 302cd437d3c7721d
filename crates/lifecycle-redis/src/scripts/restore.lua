-- Puts a registered agent back into the indexes that lack it. A life that runs gets a whole lease.
--
-- KEYS: 1 agents:active  2 agents:leases  3 agent:state:<id>
-- ARGV: 1 id
-- Returns: 1 (something was missing) or 0 (nothing was, or it is not registered any more)
-- Atomic.

local record = fields_of(KEY.state, 'incarnation', 'leaseMs', 'ended')
if not record[1] or not tonumber(record[2]) then return 0 end
local lease_end = server_ms()
if not record[3] then lease_end = lease_end + tonumber(record[2]) end
local listed = redis.call('SADD', KEY.active, ARGV[1])
return math.max(listed, redis.call('ZADD', KEY.leases, 'NX', lease_end, ARGV[1]))
