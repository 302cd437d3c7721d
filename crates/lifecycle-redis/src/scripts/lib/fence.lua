-- Whether a writer may still write.

-- 'ok', or why not: 'fenced' (this life was reaped or replaced: stop at once) or 'unknown' (the store lost its
-- memory since the writer registered, so register again under the same incarnation).
-- A life that has `ended` set is over, although its keys are still being removed.
local function fence(state_key, generation_key, incarnation, generation)
  local record = fields_of(state_key, 'incarnation', 'ended', 'generation')
  if record[1] == incarnation and not record[2] then
    -- The writer was registered again and never heard of it: until it knows the new generation, a reap would look to it
    -- like lost memory.
    return record[3] == generation and 'ok' or 'unknown'
  end
  if not record[1] and unless_mistyped('GET', generation_key) ~= generation then return 'unknown' end
  return 'fenced'
end
