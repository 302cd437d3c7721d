-- A coordinator takes an epic: one that begins, or one that waits.
--
-- KEYS: 1–3 as in lib/fenced.lua (agent:state:<coordinator>)  4 epic:state:<epic>  5 epics:waiting
-- ARGV: 1–2 as in lib/fenced.lua  3 MessagePack map {epic, coordinator, plan (text), epoch (by which the caller has
--         decided; 0 for an epic that is not there), again (the caller has taken it before, and the store lost that),
--         keepMs (how long it is kept without a coordinator), format, place (further fields: where it runs)}
-- Returns: {'ok', epoch} {'fenced'} {'unknown'}
--          {'changed'} (it is not what the caller has decided by: look again)
-- Atomic; refuses before it writes. WRONGTYPE, with nothing written, where one of the keys holds another type. Called
-- again by the life that has it, it changes nothing.

local args = cmsgpack.unpack(ARGV[3])
local wrong = wrong_type(KEY.epic_state, 'hash', KEY.waiting, 'zset')
if wrong then return wrong end
local record = fields_of(KEY.epic_state, 'epoch', 'incarnation', 'status')
local epoch = tonumber(record[1]) or 0
if record[2] == ARGV[1] and record[3] == EPIC_STATUS.running then return {'ok', tostring(epoch)} end
-- An earlier epoch, or an earlier life in the same one, is what a store has that went back in time.
local is_lost = args.again and epoch <= args.epoch
if not is_lost and epoch ~= args.epoch then return {'changed'} end

if not record[1] then redis.call('HSET', KEY.epic_state, 'startedAt', server_ms()) end
local taken = is_lost and args.epoch or epoch + 1
redis.call('HSET', KEY.epic_state, 'status', EPIC_STATUS.running, 'epoch', taken, 'coordinator', args.coordinator,
  'incarnation', ARGV[1], 'plan', args.plan, 'planHash', redis.sha1hex(args.plan), 'keepMs', args.keepMs)
for field, value in pairs(args.place) do redis.call('HSET', KEY.epic_state, field, value) end
redis.call('HDEL', KEY.epic_state, 'waitingSince', 'keptUntil')
redis.call('ZREM', KEY.waiting, args.epic)
if epoch > 0 and not is_lost then publish(args.format, EVENT.epic_resumed, {epic = args.epic, epoch = taken}) end
return {'ok', tostring(taken)}
