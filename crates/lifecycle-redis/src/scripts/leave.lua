-- A sweeper stops: it takes back that it is at work.
--
-- KEYS: 1 sweep:watermark
-- ARGV: 1 who
-- Returns: 1
-- Atomic. Writes beside a pass that was recorded only: who never made one has nothing to take back.

if redis.call('TYPE', KEY.watermark)['ok'] ~= 'hash' then return 1 end
redis.call('HDEL', KEY.watermark, PASS .. ARGV[1])
redis.call('HSET', KEY.watermark, 'leftBy', ARGV[1], 'leftAt', server_ms())
return 1
