-- The agent begins a run of a task: from here on it counts.
--
-- KEYS: 1 agent:state:<agent>  2 lifecycle:generation  3 agent:task:<agent>:<task>
-- ARGV: 1 incarnation  2 generation  3 run
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (the task was taken back)
-- Atomic.

local verdict = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if verdict ~= 'ok' then return {verdict} end
if fields_of(KEYS[3], 'run')[1] ~= ARGV[3] then return {'gone'} end
redis.call('HSET', KEYS[3], 'started', server_ms())
return {'ok'}
