-- Notes things that a life owns and that are no keys, over earlier notes of the same names.
--
-- KEYS: 1 agent:state:<id>  2 agent:things:<id>
-- ARGV: 1 incarnation  2… the name of a thing and the thing, in turn
-- Returns: {'ok'} {'gone'} (that life is not there any more, or its removal has begun)
-- Atomic. Not fenced by a generation: whoever asks may know only the life. A life that the store forgot is 'gone', and
-- what it owns still stands in the ledger on its host.

local record = fields_of(KEY.state, 'incarnation', 'ended')
if record[1] ~= ARGV[1] or record[2] then return {'gone'} end
redis.call('HSET', KEY.things, unpack(ARGV, 2))
return {'ok'}
