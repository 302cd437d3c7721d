-- Somebody saw the agent's process end without a clean release: ends its lease at once.
--
-- KEYS: 1 agents:leases  2 agent:state:<id>
-- ARGV: 1 id  2 incarnation  3 exit status in words  4 who saw it  5 format
-- Returns: {'ok'} {'gone'} (released, reaped or replaced already)
-- Atomic. From then on no beat of that life counts, not even one that is already under way.

local record = fields_of(KEY.state, 'incarnation', 'ended')
if record[1] ~= ARGV[2] then return {'gone'} end
if not record[2] then
  -- The index first: if another type stands under its name, this command fails and nothing was written.
  redis.call('ZADD', KEY.leases, server_ms(), ARGV[1])
  redis.call('HSET', KEY.state, 'ended', PROCESS_EXITED, 'exit', ARGV[3], 'seenBy', ARGV[4])
end
publish(ARGV[5], EVENT.process_exited, {agentId = ARGV[1], incarnation = ARGV[2], status = ARGV[3], reason = ARGV[4]})
return {'ok'}
