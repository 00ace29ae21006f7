-- Whoever has the lease cannot read the page: the next one may try.
-- KEYS ls; ARGV token, channel, machine. Returns 1, or 0: it was not theirs any more.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
	return 0
end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], 'R ' .. ARGV[3])
return 1
