-- Shared by every script: server time, the fleet's wire format, events. CHANNEL, AGENT_CHANNEL, EVENT and ADDRESSED come
-- from lifecycle-core, so no name is written here.

local function server_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function encode(format, value)
  if format == 'json' then return cjson.encode(value) end
  return cmsgpack.pack(value)
end

-- Returns nil for bytes that are neither format.
local function decode(bytes)
  local reader = string.sub(bytes, 1, 1) == '{' and cjson.decode or cmsgpack.unpack
  local fine, value = pcall(reader, bytes)
  if fine and type(value) == 'table' then return value end
  return nil
end

-- Publishes to all observers, and to the agent that the event is addressed to.
local function publish(format, kind, fields)
  fields.v = EVENT_VERSION
  fields.type = kind
  fields.timestamp = server_ms()
  local event = encode(format, fields)
  redis.call('PUBLISH', CHANNEL, event)
  if ADDRESSED[kind] and fields.agentId then redis.call('PUBLISH', AGENT_CHANNEL .. fields.agentId, event) end
end

-- The reply of a command, or nil where its key holds another type. A foreign type under one of our names must not stop a
-- script half-way, because what the script wrote before an error stays written. Any other refusal ends the script.
local function unless_mistyped(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then return nil end
  error(reply)
end

-- Fields of a hash. All are absent if the key holds another type, as keys of others may.
local function fields_of(key, ...)
  return unless_mistyped('HMGET', key, ...) or {}
end
