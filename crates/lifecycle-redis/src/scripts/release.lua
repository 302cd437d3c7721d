-- A clean end: the agent removes itself and everything it owns, and hands its tasks back.
--
-- KEYS: those of `Release` in scripts.rs, then owned keys and sets as lib/remove.lua says
-- ARGV: 1 MessagePack map {agentId, incarnation, generation, reason, by, format, entry, event, taskPrefix,
--         hasSprint, hasParent, childrenTold, memberships, logLength, process}
-- Returns: {'removed', keys deleted, tasks requeued}
--          {'more', …}     call again with the keys that are left
--          {'fenced'}      somebody else is removing or has removed this life
-- Atomic per call; the first one ends the life.

local args = cmsgpack.unpack(ARGV[1])
local record = fields_of(KEY.state, 'incarnation', 'ended')
if record[1] ~= args.incarnation or (record[2] and record[2] ~= args.reason) then return {'fenced'} end
return remove(args)
