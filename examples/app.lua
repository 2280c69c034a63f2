-- An example application for `sidestack serve examples/app.lua`.
--
-- The script is loaded once by each interpreter and returns the function that answers requests. Each request is a fiber:
-- it may wait as long as it likes, and keeps nobody else waiting. Locals of the script are shared by the requests of one
-- interpreter; globals that a request sets are its own.

local ss = require "sidestack"

local routes = {}

-- The simplest answer is a string.
routes["/"] = function()
  local names = {}
  for name in pairs(routes) do
    names[#names + 1] = name
  end
  table.sort(names)
  return "routes:\n  " .. table.concat(names, "\n  ") .. "\n"
end

routes["/hello"] = function(request)
  return "hello " .. (request.query.name or "world") .. "\n"
end

-- A table has status, headers and body; a body that is a table is sent as JSON.
routes["/echo"] = function(request)
  return {
    status = 200,
    headers = { ["Cache-Control"] = "no-store" },
    body = {
      method = request.method,
      path = request.path,
      query = request.query,
      headers = request.headers,
      body = request.body,
    },
  }
end

-- JSON in, JSON out. What cannot be decoded is the client's mistake.
routes["/sum"] = function(request)
  local ok, numbers = pcall(ss.json.decode, request.body)
  if not ok or type(numbers) ~= "table" then
    return { status = 400, body = { error = "send a JSON list of numbers" } }
  end
  local sum = 0
  for _, number in ipairs(numbers) do
    sum = sum + number
  end
  return { body = { sum = sum, count = #numbers } }
end

-- /sleep?s=0.5: only this request waits.
routes["/sleep"] = function(request)
  local seconds = tonumber(request.query.s) or 0.1
  ss.sleep(seconds)
  return ("slept %.2f s\n"):format(seconds)
end

-- /fan-out?n=10: requests this server n times at once, also if it has a single thread. The group leaves when all of its
-- tasks have ended; an error in one of them would cancel the others.
routes["/fan-out"] = function(request)
  local n = math.min(tonumber(request.query.n) or 10, 100)
  local url = "http://" .. request.headers.host .. "/sleep?s=0.2"
  local pages = ss.group(function(group)
    local tasks = {}
    for i = 1, n do
      tasks[i] = group:spawn(ss.http.get, url)
    end
    local bodies = {}
    for i, task in ipairs(tasks) do
      bodies[i] = task:join().body
    end
    return bodies
  end)
  return { body = { pages = pages, count = #pages } }
end

-- A slow part gets a limit of its own, and the request goes on without it.
routes["/timeout"] = function()
  local ok, e = pcall(ss.timeout, 0.1, ss.sleep, 10)
  return { body = { ok = ok, code = not ok and e.code or nil, message = not ok and e.message or nil } }
end

-- Workers take jobs from one channel and put results into another.
routes["/pipeline"] = function(request)
  local n = math.min(tonumber(request.query.n) or 20, 1000)
  local jobs, results = ss.channel(4), ss.channel(4)
  return ss.group(function(group)
    for _ = 1, 3 do
      group:spawn(function()
        while true do
          local job = jobs:recv()
          if job == nil then -- closed, and empty
            return
          end
          ss.sleep(0.001)
          results:send(job * job)
        end
      end)
    end
    group:spawn(function()
      for i = 1, n do
        jobs:send(i)
      end
      jobs:close()
    end)
    local sum = 0
    for _ = 1, n do
      sum = sum + results:recv()
    end
    return { body = { jobs = n, sum_of_squares = sum } }
  end)
end

-- What is read, waited on and written again needs a lock; it is released when the block is left, whatever the reason.
local visits = { count = 0, lock = ss.mutex() }

routes["/visits"] = function()
  local lock <close> = visits.lock:lock()
  local seen = visits.count
  ss.sleep(0.001)
  visits.count = seen + 1
  return { body = { visits = visits.count } }
end

-- The answer does not wait for what goes on in the background.
routes["/later"] = function(request)
  local name = request.query.name or "somebody"
  ss.background(function()
    ss.sleep(0.2)
    ss.log.info("a letter was sent", { to = name })
  end)
  return { status = 202, body = "it will be sent\n" }
end

return function(request)
  local route = routes[request.path]
  if not route then
    return { status = 404, body = { error = "there is nothing at " .. request.path } }
  end
  return route(request)
end
