-- An operator does not want an epic any more that a coordinator has. It stays on record until somebody obeys: that coordinator,
-- the next one, or a sweeper once it waits.
--
-- KEYS: 1 epic:state:<epic>
-- ARGV: none
-- Returns: {'ok'} {'no_epic'}
-- Atomic.

if not fields_of(KEY.epic_state, 'status')[1] then return {'no_epic'} end
redis.call('HSET', KEY.epic_state, 'cancelledAt', server_ms())
return {'ok'}
