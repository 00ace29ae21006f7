-- A machine is about to write. Should it die between the commit and its invalidation, the page dies by itself.
-- KEYS pg wi; ARGV machine, how long the intent counts (ms). Returns 1.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local intent = tonumber(ARGV[2])
-- PEXPIRE … LT would do, from Redis 7 on.
local left = redis.call('PTTL', KEYS[1])
if left == -1 or left > intent then
	redis.call('PEXPIRE', KEYS[1], intent)
end
redis.call('ZADD', KEYS[2], string.format('%.0f', now + intent), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[2], 2 * intent)
return 1
