-- Gives a cleanup lock back, if it is still ours.
--
-- KEYS: 1 cleanup:lock:<id>
-- ARGV: 1 token
-- Returns: 1 or 0
-- Atomic.

if unless_mistyped('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
return 0
