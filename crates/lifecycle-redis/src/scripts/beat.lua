-- One beat: renews the lease and returns the order that the agent has. It is the hot path, so arguments are positional.
--
-- KEYS: 1–3 as in lib/fenced.lua  4 agents:leases  5 agent:heartbeat:<id>  6 agent:command:<id>  7 agent:memory:<id>
-- ARGV: 1–2 as in lib/fenced.lua  3 id  4 lease ms  5 heartbeat ttl s  6 memory ttl s  7 heartbeat (opaque)
--       8 state  9 progress  10 format  11 publish heartbeat_sent: '1' or '0'  12… memory fields, name then value
-- Returns: {'ok', now, order or ''}  {'fenced'}  {'unknown'}
-- Flagged allow-oom: it writes over what is there, and an agent that could not beat in a full store would be reaped.
-- Atomic. Never creates a registration, and creates no key at all unless the incarnation is the living one.

local now = server_ms()
-- How long it has beaten without a gap, at least every half lease. This proves to others that the store was up.
local lease = tonumber(redis.call('ZSCORE', KEY.leases, ARGV[3]) or 0)
local pause = now - (lease - ARGV[4])
if pause < 0 or pause > ARGV[4] / 2 then redis.call('HSET', KEY.state, 'steadySince', now) end
-- The index first: if another type stands under its name, this command fails and nothing was written.
redis.call('ZADD', KEY.leases, now + ARGV[4], ARGV[3])
redis.call('SET', KEY.heartbeat, ARGV[7], 'EX', ARGV[5])
if #ARGV > 11 then
  -- Another type under the name of the figures must not keep a living agent from beating.
  if redis.call('TYPE', KEY.memory)['ok'] ~= 'hash' then redis.call('UNLINK', KEY.memory) end
  redis.call('HSET', KEY.memory, 'timestamp', now, unpack(ARGV, 12))
  redis.call('EXPIRE', KEY.memory, ARGV[6])
end

local was = redis.call('HMGET', KEY.state, 'state', 'progress')
if was[1] ~= ARGV[8] then
  redis.call('HSET', KEY.state, 'state', ARGV[8])
  publish(ARGV[10], EVENT.agent_state_changed, {agentId = ARGV[3], incarnation = ARGV[1], state = ARGV[8]})
end
if (was[2] or '') ~= ARGV[9] then redis.call('HSET', KEY.state, 'progress', ARGV[9], 'progressAt', now) end
if ARGV[11] == '1' then publish(ARGV[10], EVENT.heartbeat_sent, {agentId = ARGV[3], incarnation = ARGV[1]}) end
return {'ok', tostring(now), unless_mistyped('GET', KEY.command) or ''}
