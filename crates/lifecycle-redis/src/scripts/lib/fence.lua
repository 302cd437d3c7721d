-- Decides whether a writer may still write.

-- How many gaps are remembered. Each start of the server can add one.
local GAPS_KEPT = 16

-- Whether this store cannot know a life that did begin, because it lost its memory: all of it, or its end (an append-only
-- file cut short, a replica that lagged, an old dump). The number of such a life lies in a gap that register.lua found, or
-- is greater than all numbers. A writer that knows the generation of a gap registered after it. If the store does remember
-- the number, a missing record means that the life was reaped or replaced.
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

-- Returns 'ok', or why not. 'fenced': this life was reaped or replaced, so its writer has to stop at once. 'unknown': the
-- store lost its memory since the writer registered, so it has to register again under the same incarnation. A life whose
-- record has `ended` is over, although its keys are still being removed.
local function fence(incarnation, generation)
  local record = fields_of(KEY.state, 'incarnation', 'ended', 'generation')
  if record[1] == incarnation then
    if record[2] then return 'fenced' end
    -- The writer was registered again but did not get the answer. It has to learn the new generation first. Without it, a
    -- later reap would look to it like lost memory.
    return record[3] == generation and 'ok' or 'unknown'
  end
  -- A later life of the id has replaced this one, whatever the store remembers. An earlier life can be there only because
  -- the store forgot that this one had replaced it.
  local other = record[1] and (tonumber(record[1]) or math.huge)
  if other and other > tonumber(incarnation) then return 'fenced' end
  return is_forgotten(incarnation, generation) and 'unknown' or 'fenced'
end
