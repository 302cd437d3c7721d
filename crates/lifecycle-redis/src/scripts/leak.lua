-- The latch that all sweepers share: the first sweeper that sees a leak of the fleet publishes the alert, once per episode.
--
-- KEYS: 1 memory:stats
-- ARGV: 1 'began', 'lasts' or 'ended'  2 after how many ms in which nobody saw the leak it is another episode
--       3 the alert (opaque; '' unless 'began')
-- Returns: 1 (the alert was published) or 0 (somebody told of this episode before, or there was nothing to tell)
-- Atomic. Flagged allow-oom, because an alert is wanted in a full store too. Where another type stands under the key there
-- is no latch: a repeated alert is better than none.

local kind = redis.call('TYPE', KEY.stats)['ok']
local has_latch = kind == 'hash' or kind == 'none'
if ARGV[1] == LEAK.ended then
  if has_latch then redis.call('HDEL', KEY.stats, 'leakSeen') end
  return 0
end

local now = server_ms()
local seen = has_latch and tonumber(redis.call('HGET', KEY.stats, 'leakSeen') or '')
if has_latch then redis.call('HSET', KEY.stats, 'leakSeen', now) end
if ARGV[1] ~= LEAK.began then return 0 end
-- A stamp in the future was written before the server's clock was set back.
if seen and seen <= now and now - seen < tonumber(ARGV[2]) then return 0 end
redis.call('PUBLISH', ALERT_CHANNEL, ARGV[3])
return 1
