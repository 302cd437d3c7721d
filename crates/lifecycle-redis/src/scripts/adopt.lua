-- Gives a plain agent (a member of agents:active with no lease) the lease that its heartbeat stands for, or renews it.
--
-- KEYS: 1 agents:active  2 agents:leases  3 agent:state:<id>  4 sweep:look:<id>
-- ARGV: 1 id  2 end of the lease in ms  3 end of the lease it was judged by, or ''  4 what to remember of its heartbeat, or
--       ''  5 until when, in ms  6 longest that a lease may run, in ms
-- Returns: 1 (set) or 0 (it registered, left, or was judged anew meanwhile)
-- Atomic.

if fields_of(KEY.state, 'incarnation')[1] then return 0 end
if redis.call('SISMEMBER', KEY.active, ARGV[1]) == 0 then return 0 end
local lease = redis.call('ZSCORE', KEY.leases, ARGV[1])
if lease and ARGV[3] ~= '' and tonumber(lease) ~= tonumber(ARGV[3]) then return 0 end
if lease and ARGV[3] == '' then return 0 end
redis.call('ZADD', KEY.leases, math.min(tonumber(ARGV[2]), server_ms() + ARGV[6]), ARGV[1])
if ARGV[4] ~= '' then
  redis.call('SET', KEY.first_look, ARGV[4], 'PXAT', ARGV[5])
else
  redis.call('UNLINK', KEY.first_look)
end
return 1
