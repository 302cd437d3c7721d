-- Ends leases no later than their own length from now. A lease can end later only if it was written before the server's
-- clock was set back. Its agent would then count as alive for as long as the clock was ahead.
--
-- KEYS: 1 agents:leases  2… agent:state:<id>
-- ARGV: 1 lease ms of agents that have no record  2… id, in the order of the keys
-- Returns: {how many were shortened, longest length there is among them in ms}
-- Atomic. Lengthens no lease and creates none. A lease that is over by evidence, or whose cleanup has begun, is over now.

local now, shortened, longest = server_ms(), 0, 0
for i = NAMED + 1, #KEYS do
  local record = fields_of(KEYS[i], 'leaseMs', 'ended')
  local length = record[2] and 0 or tonumber(record[1] or '') or tonumber(ARGV[1])
  local lease = redis.call('ZSCORE', KEY.leases, ARGV[i])
  if lease and tonumber(lease) > now + length then
    redis.call('ZADD', KEY.leases, 'XX', now + length, ARGV[i])
    shortened = shortened + 1
  end
  longest = math.max(longest, length)
end
return {shortened, longest}
