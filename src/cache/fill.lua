-- Stores the page, unless somebody has written since the lease was taken: every write deletes the token.
-- KEYS pg fr ls wi; ARGV token, page, life (ms), fresh (ms), grace (ms), cap (ms; '' without), channel, machine.
-- Returns the page's life in ms, or 0: refused.
if redis.call('GET', KEYS[3]) ~= ARGV[1] then
	return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local life = tonumber(ARGV[3])
if ARGV[6] ~= '' then
	life = math.min(life, ARGV[6])
end
-- Who is writing may die before he invalidates: no page read meanwhile may outlive what his intent allows.
local intent = redis.call('ZREVRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if intent[2] and tonumber(intent[2]) > now then
	life = math.min(life, intent[2] - now)
end
-- First: only the first write of a script is refused on a full Redis, and then nothing has changed.
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', life))
redis.call('SET', KEYS[2], '1', 'PX', string.format('%.0f', math.min(life, ARGV[4]) + ARGV[5]))
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', ARGV[7], 'F ' .. ARGV[8])
return life
