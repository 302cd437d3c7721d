-- An operator does not want an epic any more that a coordinator has. It stays on record until somebody obeys: that coordinator,
-- the next one, or a sweeper once the epic waits.
--
-- KEYS: 1 epic:state:<epic>
-- ARGV: none
-- Returns: {'ok'} {'no_coordinator'} (it waits, or has ended: whoever wants it cancelled can remove it at once)
-- Atomic.

if fields_of(KEY.epic_state, 'status')[1] ~= EPIC_STATUS.running then return {'no_coordinator'} end
redis.call('HSET', KEY.epic_state, 'cancelledAt', server_ms())
return {'ok'}
