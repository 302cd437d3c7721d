-- Drops things that a life does not own any more: they were undone, or it gave them up.
--
-- KEYS: 1 agent:state:<id>  2 agent:things:<id>
-- ARGV: 1 incarnation  2… names of things
-- Returns: {'ok'} {'gone'} (that life is not there any more, and its list went with it)
-- Atomic. Flagged allow-oom: it only removes.

if fields_of(KEY.state, 'incarnation')[1] ~= ARGV[1] then return {'gone'} end
unless_mistyped('HDEL', KEY.things, unpack(ARGV, 2))
return {'ok'}
