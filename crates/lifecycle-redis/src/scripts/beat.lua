-- One beat: renews the lease and tells the agent what it is ordered to do. The hot path, so arguments are
-- positional.
--
-- KEYS: 1 agents:leases  2 agent:heartbeat:<id>  3 agent:state:<id>  4 lifecycle:generation
--       5 agent:command:<id>  6 agent:memory:<id>
-- ARGV: 1 id  2 incarnation  3 generation  4 lease ms  5 heartbeat ttl s  6 memory ttl s  7 heartbeat (opaque)
--       8 state  9 progress  10 format  11 publish heartbeat_sent: '1' or '0'  12… memory fields, name then value
-- Returns: {'ok', now, order or ''}  {'fenced'}  {'unknown'}
-- Flagged allow-oom: it writes over what is there, and an agent that could not beat in a full store would be reaped.
-- Atomic. Never creates a registration, and creates no key at all unless the incarnation is the living one.

local verdict = fence(KEYS[3], KEYS[4], ARGV[2], ARGV[3])
if verdict ~= 'ok' then return {verdict} end

local now = server_ms()
-- How long it has beaten without a gap, at least every half lease: proof for others that the store was up.
local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
local pause = now - (lease - ARGV[4])
if pause < 0 or pause > ARGV[4] / 2 then redis.call('HSET', KEYS[3], 'steadySince', now) end
-- The index first: where another type stands under its name, nothing but this fails.
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
redis.call('SET', KEYS[2], ARGV[7], 'EX', ARGV[5])
if #ARGV > 11 then
  -- Another type under a name of ours must not keep a living agent from beating.
  if redis.call('TYPE', KEYS[6])['ok'] ~= 'hash' then redis.call('UNLINK', KEYS[6]) end
  redis.call('HSET', KEYS[6], 'timestamp', now, unpack(ARGV, 12))
  redis.call('EXPIRE', KEYS[6], ARGV[6])
end

local was = redis.call('HMGET', KEYS[3], 'state', 'progress')
if was[1] ~= ARGV[8] then
  redis.call('HSET', KEYS[3], 'state', ARGV[8])
  publish(ARGV[10], EVENT.agent_state_changed, {agentId = ARGV[1], incarnation = ARGV[2], state = ARGV[8]})
end
if (was[2] or '') ~= ARGV[9] then redis.call('HSET', KEYS[3], 'progress', ARGV[9], 'progressAt', now) end
if ARGV[11] == '1' then publish(ARGV[10], EVENT.heartbeat_sent, {agentId = ARGV[1], incarnation = ARGV[2]}) end
return {'ok', tostring(now), unless_mistyped('GET', KEYS[5]) or ''}
