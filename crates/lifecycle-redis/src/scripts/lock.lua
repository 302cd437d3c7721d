-- Takes an agent's cleanup lock. A lock whose owner has not finished within `steal after` is taken over: its
-- owner died, and reaping twice does nothing twice.
--
-- KEYS: 1 cleanup:lock:<id>
-- ARGV: 1 token  2 ttl ms  3 steal after ms
-- Returns: 1 or 0
-- Atomic.

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left > ARGV[2] - ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
