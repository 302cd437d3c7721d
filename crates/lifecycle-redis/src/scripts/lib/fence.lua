-- Whether a writer may still write.

-- Gaps that are remembered: one for each start of the server.
local GAPS_KEPT = 16

-- Whether this store cannot know a life that was begun, because it lost its memory: all of it, or its end (an append-only
-- file cut short, a replica that lagged, an old dump). Then the life's number lies in a gap that register.lua found, or
-- beyond all numbers. Whoever knows the generation of a gap registered after it. Of a life whose number this store remembers,
-- a missing record means that it was reaped or replaced.
local function is_forgotten(incarnation, generation)
  local current = unless_mistyped('GET', KEY.generation)
  local stats = fields_of(KEY.stats, 'lastIncarnation', 'gaps')
  local own, last = tonumber(incarnation), tonumber(stats[1])
  if not (current and last) then return current ~= generation end
  if own > last then return true end
  local forgotten = false
  for from, to, began in string.gmatch(stats[2] or '', '(%d+)-(%d+)-(%S+)') do
    if own > tonumber(from) and own < tonumber(to) then forgotten = true end
    if began == generation then forgotten = false end
  end
  return forgotten
end

-- 'ok', or why not: 'fenced' (this life was reaped or replaced: stop at once) or 'unknown' (the store lost its
-- memory since the writer registered, so register again under the same incarnation).
-- A life that has `ended` set is over, although its keys are still being removed.
local function fence(incarnation, generation)
  local record = fields_of(KEY.state, 'incarnation', 'ended', 'generation')
  if record[1] == incarnation then
    if record[2] then return 'fenced' end
    -- The writer was registered again and never heard of it: until it knows the new generation, a reap would look to it
    -- like lost memory.
    return record[3] == generation and 'ok' or 'unknown'
  end
  -- A later life of the id has replaced this one, whatever the store remembers. An earlier one can only be there because
  -- the store forgot that this one had replaced it.
  local other = record[1] and (tonumber(record[1]) or math.huge)
  if other and other > tonumber(incarnation) then return 'fenced' end
  return is_forgotten(incarnation, generation) and 'unknown' or 'fenced'
end
