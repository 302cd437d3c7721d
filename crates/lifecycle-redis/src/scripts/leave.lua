-- A sweeper stops: removes its entry, which said that it is at work.
--
-- KEYS: 1 sweep:watermark
-- ARGV: 1 who
-- Returns: 1
-- Atomic. Writes only if a pass of this sweeper was recorded.

if redis.call('TYPE', KEY.watermark)['ok'] ~= 'hash' then return 1 end
redis.call('HDEL', KEY.watermark, PASS .. ARGV[1])
redis.call('HSET', KEY.watermark, 'leftBy', ARGV[1], 'leftAt', server_ms())
return 1
