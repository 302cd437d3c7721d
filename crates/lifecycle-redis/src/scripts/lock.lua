-- Takes the cleanup locks of a batch of agents, each independently. A lock whose owner has not finished within `steal
-- after` is taken over: its owner died, and reaping twice has no further effect.
--
-- KEYS: 1… cleanup:lock:<id>
-- ARGV: 1 token  2 ttl ms  3 steal after ms
-- Returns: {1 or 0, …}, one for each key
-- Atomic. A few µs per lock: the caller bounds their number.

local function take(key)
  if redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
  local left = redis.call('PTTL', key)
  -- More than its lifetime is left, so the clock was set back since. The lock counts as taken now.
  if left > tonumber(ARGV[2]) then redis.call('PEXPIRE', key, ARGV[2]) end
  if left >= 0 and left > ARGV[2] - ARGV[3] then return 0 end
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
  return 1
end

local taken = {}
for i, key in ipairs(KEYS) do taken[i] = take(key) end
return taken
