-- Can this Redis still be written to? It is what an invalidation would need.
-- KEYS ma; ARGV machine, how long it counts as present (ms; may be 0). Returns how many machines are present.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- First: only the first write of a script is refused on a full Redis.
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 60000)
return redis.call('ZCARD', KEYS[1])
