-- A machine has written. Deletions alone, so that it works on a full Redis, too.
-- KEYS pg fr ls wi ma; ARGV channel, machine, '1' where its intent ends. Returns {receivers, machines}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
local receivers = redis.call('PUBLISH', ARGV[1], 'I ' .. ARGV[2])
if ARGV[3] == '1' then
	redis.call('ZREM', KEYS[4], ARGV[2])
end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', now))
local machines = redis.call('ZCARD', KEYS[5])
if not redis.call('ZSCORE', KEYS[5], ARGV[2]) then
	machines = machines + 1
end
return {receivers, machines}
