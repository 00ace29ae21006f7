-- A machine meets this Redis, or has lost sight of it: what stands here may be older than what was seen.
-- KEYS pg fr ls wi ma; ARGV channel, machine, how long it counts as present (ms; 0: it vouches for no page, and nobody has to
-- wait for it). Returns {receivers, machines}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
for i = 4, 5 do
	local size = redis.pcall('ZCARD', KEYS[i])
	if type(size) == 'table' and size.err:find('WRONGTYPE', 1, true) then
		redis.call('DEL', KEYS[i])
	end
end
local receivers = redis.call('PUBLISH', ARGV[1], 'I ' .. ARGV[2])
-- A full Redis may refuse it; the probe says so.
redis.pcall('ZADD', KEYS[5], string.format('%.0f', now + ARGV[3]), ARGV[2])
redis.pcall('PEXPIRE', KEYS[5], 60000)
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', now))
local machines = redis.call('ZCARD', KEYS[5])
if not redis.call('ZSCORE', KEYS[5], ARGV[2]) then
	machines = machines + 1
end
return {receivers, machines}
