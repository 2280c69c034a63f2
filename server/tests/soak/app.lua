-- What good and bad scripts do, by path.
local ss = require "sidestack"

local does = {}

function does.ok(request)
  local sum = 0
  for i = 1, 1000 do
    sum = sum + i
  end
  return "ok " .. request.query.n .. " " .. sum
end

function does.sleep(request)
  ss.sleep(0.005 + (tonumber(request.query.n) % 20) / 1000)
  return "slept"
end

function does.echo(request)
  return request.body
end

function does.large()
  return ("x"):rep(1 << 20)
end

function does.tasks()
  local sum = ss.group(function(g)
    local ch = ss.channel(2)
    for i = 1, 5 do
      g:spawn(function()
        ss.sleep(0.001 * i)
        ch:send(i)
      end)
    end
    local all = 0
    for _ = 1, 5 do
      all = all + ch:recv()
    end
    return all
  end)
  return tostring(sum)
end

function does.own(request)
  local target = "http://" .. request.headers.host .. "/ok?n=" .. request.query.n
  local ok, answer = pcall(ss.http.get, target, { timeout = 0.5 })
  return ok and "asked" or "not asked"
end

function does.background()
  ss.background(function()
    ss.sleep(0.05)
  end)
  return "left"
end

-- The bad ones.

function does.loop()
  while true do
  end
end

function does.stubborn()
  while true do
    pcall(function()
      while true do
      end
    end)
  end
end

function does.recurse()
  local function down(n)
    return 1 + down(n + 1)
  end
  return down(0)
end

function does.deep()
  local function down(n)
    return (("x"):gsub("x", function()
      return down(n + 1)
    end))
  end
  return down(0)
end

function does.hungry()
  local all = {}
  for i = 1, math.huge do
    all[i] = ("x"):rep(10000) .. i
  end
end

function does.bomb()
  return ("x"):rep(1 << 40)
end

function does.error()
  error { code = "mine", message = "as asked" }
end

function does.host()
  return ss.json.decode "{"
end

function does.refused()
  return ss.http.get("http://127.0.0.1:1/", { timeout = 0.2 }).body
end

function does.wrong()
  return { status = "none", body = print }
end

function does.stuck()
  return ss.channel(1):recv()
end

-- Byte code that reads upvalues that there are not: sooner or later one is behind a null pointer.
function does.crash()
  local function plain()
    local a = "constant"
    local b = "constant"
    local c = 1
    return c
  end
  local code = string.dump(plain, true)
  local loads = "\x03\x00\x00\x00\x83\x00\x00\x00"
  local at = assert(code:find(loads, 1, true), "the compiler has changed")
  for upvalue = 255, 1, -1 do
    local broken = code:sub(1, at - 1) .. string.pack("<I4", 9 | upvalue << 16) .. code:sub(at + 4)
    load(broken, "broken", "b")()
  end
  return "survived"
end

return function(request)
  return does[request.path:sub(2)](request)
end
