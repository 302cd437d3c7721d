-- Compare-and-reap: removes a registered agent if its end is proven or its lease is still over, and a plain one if it
-- has not beaten since it was judged.
--
-- KEYS: those of `ReapDead` in scripts.rs, then owned keys and sets as lib/remove.lua says
-- ARGV: 1 MessagePack map {agentId, incarnation ('' for a plain agent), plain, force, reason, by, token, format,
--         entry, event, taskPrefix, hasSprint, hasParent, childrenTold, memberships, logLength, process, judged,
--         judgedExpiry (when the key of the heartbeat expires, in ms; nil if that was not asked)}
--       2 the heartbeat that a plain agent was judged by ('' for none); for one too long to pass on, args.judged
--         is its length
-- Returns: {'removed', keys deleted, tasks requeued}
--          {'more', …}     call again with the keys that are left
--          {'refuted'}     it spoke up: the lease runs, or the heartbeat is another one
--          {'gone'}        that life is not there any more
-- Atomic per call. Flagged allow-oom (it only removes, but for a few bytes of audit): a full store must be
-- cleanable.

local args = cmsgpack.unpack(ARGV[1])
local record = fields_of(KEY.state, 'incarnation', 'ended')
local lease = unless_mistyped('ZSCORE', KEY.leases, args.agentId)

if args.plain then
  if record[1] then return {'gone'} end
  if not lease and unless_mistyped('SISMEMBER', KEY.active, args.agentId) ~= 1 then return {'gone'} end
  if not args.force then
    local kind = redis.call('TYPE', KEY.heartbeat)['ok']
    local same
    if kind ~= 'string' then
      same = ARGV[2] == ''
    elseif args.judged then
      same = redis.call('STRLEN', KEY.heartbeat) == args.judged
    else
      same = redis.call('GET', KEY.heartbeat) == ARGV[2]
    end
    -- A client whose clock stands still writes the same bytes again, but the write moves the expiry.
    if same and args.judgedExpiry then
      same = redis.call('PEXPIRETIME', KEY.heartbeat) == args.judgedExpiry
    end
    if not same then return {'refuted'} end
    if lease and tonumber(lease) > server_ms() then return {'refuted'} end
  end
else
  if record[1] ~= args.incarnation then return {'gone'} end
  if not args.force and not record[2] and not (lease and tonumber(lease) <= server_ms()) then return {'refuted'} end
end
return remove(args)
