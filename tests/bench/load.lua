-- What wrk sends, and one line of JSON about how it went.
--
--     wrk -s load.lua URL -- get       the URL as it is
--     wrk -s load.lua URL -- post      a form with ever new content
--     wrk -s load.lua URL -- random    ?start=N, N from 1 to 1,000
--     wrk -s load.lua URL -- pipeline  the URL as it is, 16 requests at a time

local threads = 0

function setup(thread)
   thread:set("thread_id", threads)
   threads = threads + 1
end

-- `request` is defined only where requests differ: without it wrk formats its one request once.
function init(args)
   local what, number, path = args[1], 0, wrk.path
   math.randomseed(os.time() * 64 + thread_id)
   if what == "post" then
      -- All but the number is put together once: this program shares the cores with what it measures.
      local form = "content=buy+milk%2C+eggs+and+a+loaf+of+bread%2C+number+" .. thread_id .. "00000000"
      local headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
      local before = string.sub(wrk.format("POST", path, headers, form), 1, -9)
      request = function()
         number = number + 1
         return before .. string.format("%08d", number)
      end
   elseif what == "pipeline" then
      local sixteen = string.rep(wrk.format("GET", path), 16)
      request = function()
         return sixteen
      end
   elseif what == "random" then
      request = function()
         return wrk.format("GET", path .. "?start=" .. math.random(1, 1000))
      end
   end
end

function done(summary, latency)
   local e = summary.errors
   print(string.format(
      '{"rate": %.1f, "p50_us": %d, "p99_us": %d, "status_errors": %d, "socket_errors": %d}',
      (summary.requests - e.status) / (summary.duration / 1e6), latency:percentile(50), latency:percentile(99),
      e.status, e.connect + e.read + e.write + e.timeout))
end
