-- Gives a cleanup lock back, if the caller still holds it.
--
-- KEYS: 1 cleanup:lock:<id>
-- ARGV: 1 token
-- Returns: 1 or 0
-- Atomic.

if unless_mistyped('GET', KEY.lock) == ARGV[1] then return redis.call('UNLINK', KEY.lock) end
return 0
