-- The page while it is fresh. Else the lease: the permission to store a page, as long as its token stays here.
-- KEYS pg fr ls wi; ARGV token, lease (ms), grace (ms).
-- Returns {verdict, page or nil, how long it is fresh (ms; negative: was), how long the lease lives (ms),
-- is an intent open}. The verdict is H hit, L the lease is yours, S serve it or W wait: somebody has the lease.
local page = redis.call('GET', KEYS[1])
-- fr outlives freshness by the grace, so that Redis's clock alone tells how old a page is.
local fresh = redis.call('PTTL', KEYS[2]) - ARGV[3]
local lease = tonumber(ARGV[2])
if page and fresh > 0 then
	-- Not beyond the page's own life, which a writer may have capped.
	local left = redis.call('PTTL', KEYS[1])
	if left >= 0 and left < fresh then
		fresh = left
	end
	return {'H', page, fresh, 0, 0}
end
if redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', lease) then
	local time = redis.call('TIME')
	local now = time[1] * 1000 + math.floor(time[2] / 1000)
	local intent = redis.call('ZREVRANGE', KEYS[4], 0, 0, 'WITHSCORES')
	local is_open = intent[2] and tonumber(intent[2]) > now
	return {'L', page, fresh, lease, is_open and 1 or 0}
end
local left = redis.call('PTTL', KEYS[3])
if left < 0 or left > lease then
	return redis.error_reply('BADLEASE the lease is not one of todod')
end
if page and fresh + ARGV[3] > 0 then
	return {'S', page, fresh, left, 0}
end
return {'W', false, 0, left, 0}
