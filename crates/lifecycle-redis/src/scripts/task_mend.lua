-- The coordinator replaces a task's record that cannot be read by a new one.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 sprint:tasks:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3 task  4 the bytes that were seen  5 the new record
-- Returns: {'ok'} {'fenced'} {'unknown'} {'gone'} (something else stands there by now)
-- Atomic.

if redis.call('HGET', KEY.sprint_tasks, ARGV[3]) ~= ARGV[4] then return {'gone'} end
redis.call('HSET', KEY.sprint_tasks, ARGV[3], ARGV[5])
return {'ok'}
