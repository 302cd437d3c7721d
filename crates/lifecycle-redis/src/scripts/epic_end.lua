-- A coordinator ends its epic: nothing of it stays but an entry in the history.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 epic:state:<epic>  5 epics:waiting  6 epics:history
--       7 epic:sprints:<epic>  8… all keys of its sprints
-- ARGV: 1–2 as in lib/fenced.lua  3 MessagePack map {epic, outcome, reason ('' for none), format, length (about how many
--         entries the history keeps), entry (further fields of it)}
-- Returns: {'ok', keys deleted} {'fenced'} {'unknown'} {'no_epic'} (the caller has not taken the epic, or the store lost
--          that: take it)
-- Atomic. Flagged allow-oom: it removes. The epic's own keys are removed whatever they hold.

local args = cmsgpack.unpack(ARGV[3])
if fields_of(KEY.epic_state, 'incarnation')[1] ~= ARGV[1] then return {'no_epic'} end
return {'ok', end_epic(args.epic, args.outcome, args.reason, args.format, args.entry, args.length)}
