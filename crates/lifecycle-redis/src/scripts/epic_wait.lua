-- Lets an epic wait whose coordinator is not there. Its removal does that at once; only a store that went back in time can
-- have one without the other.
--
-- KEYS: 1 epic:state:<epic>  2 epics:waiting  3 agent:state:<coordinator>
-- ARGV: 1 epic  2 the life that has it  3 format  4 reason
-- Returns: {'ok'} {'gone'} (another life has it, or that life is there)
-- Atomic.

local record = fields_of(KEY.epic_state, 'status', 'incarnation')
if record[1] ~= EPIC_STATUS.running or record[2] ~= ARGV[2] then return {'gone'} end
if fields_of(KEY.state, 'incarnation')[1] == ARGV[2] then return {'gone'} end
let_wait(KEY.epic_state, KEY.waiting, ARGV[1], ARGV[3], ARGV[4])
return {'ok'}
