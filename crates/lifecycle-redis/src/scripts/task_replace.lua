-- A coordinator that goes on with a changed plan puts records in the place of those it has read, or removes them.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 epic:state:<epic>  5 sprint:state:<sprint>
--       6 sprint:tasks:<sprint>
-- ARGV: 1–2 as in lib/fenced.lua  3… task, the run it was read with, and its new record ('' to remove it)
-- Returns: {'ok', how many were replaced or removed} {'fenced'} {'unknown'}
--          {'no_epic'} (the caller has not taken the epic, or the store lost that: take it)
-- Atomic. A record that has another run by now stays. The sprint is open again, if it was over. WRONGTYPE, with nothing
-- written, where one of the keys holds another type.

if fields_of(KEY.epic_state, 'incarnation')[1] ~= ARGV[1] then return {'no_epic'} end
local wrong = wrong_type(KEY.sprint_state, 'hash', KEY.sprint_tasks, 'hash')
if wrong then return wrong end
local done = 0
for i = 3, #ARGV, 3 do
  local task = task_record(KEY.sprint_tasks, ARGV[i])
  if task and task.run == tonumber(ARGV[i + 1]) then
    if ARGV[i + 2] == '' then
      redis.call('HDEL', KEY.sprint_tasks, ARGV[i])
    else
      redis.call('HSET', KEY.sprint_tasks, ARGV[i], ARGV[i + 2])
    end
    done = done + 1
  end
end
redis.call('HDEL', KEY.sprint_state, 'outcome', 'endedAt')
return {'ok', done}
