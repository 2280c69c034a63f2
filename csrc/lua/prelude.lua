-- The module `sidestack`, built once per interpreter out of the host module sidestack.core. Runs when the interpreter
-- starts; what it returns is what `require "sidestack"` gives, read-only.
--
--   core       the host module: functions by name
--   classes    the methods of host objects, by the class's name: what is added here, every object has
--   protect    protect(name, t) gives a read-only view of t
--
-- Functions here run in the scripts' fibers and see their globals: what they use of the libraries is kept in locals.
local core, classes, protect = ...
local error, pairs, type, lower, null = error, pairs, type, string.lower, null

local sidestack = {
  sleep = core.sleep,
  yield = core.give_way,
  timeout = core.timeout,
  spawn = core.spawn,
  background = core.background,
  group = core.group,
  channel = core.channel,
  select = core.select,
  mutex = core.mutex,
  semaphore = core.semaphore,
  env = core.env,
}

-- for msg in ch:iter() do ... end: until the channel is closed and empty.
local recv = classes.Channel.recv
function classes.Channel.iter(channel)
  return recv, channel
end

sidestack.json = protect("sidestack.json", {
  encode = core.json_encode,
  decode = core.json_decode,
  null = null,
})

local log, logs = core.log, {}
for _, level in pairs { "trace", "debug", "info", "warn", "error" } do
  logs[level] = function(message, fields)
    return log(level, message, fields)
  end
end
sidestack.log = protect("sidestack.log", logs)

local http_request, json_encode = core.http_request, core.json_encode

-- Options: method, url, headers, body (a table is sent as JSON), json (any value), timeout (seconds), redirects.
local function request(options, method, url, body)
  if http_request == nil then
    error({ code = "no_http", message = "http is not built in (cargo feature `tokio`)" }, 0)
  end
  local asked = {}
  for name, value in pairs(options or {}) do
    asked[name] = value
  end
  asked.method, asked.url = method or asked.method, url or asked.url
  if body ~= nil then
    asked.body = body
  end
  if type(asked.body) == "table" then
    asked.json, asked.body = asked.body, nil
  end
  if asked.json ~= nil then
    local headers, typed = {}, false
    for name, value in pairs(asked.headers or {}) do
      headers[name] = value
      typed = typed or lower(name) == "content-type"
    end
    if not typed then
      headers["content-type"] = "application/json"
    end
    asked.headers, asked.body, asked.json = headers, json_encode(asked.json), nil
  end
  return http_request(asked)
end

sidestack.http = protect("sidestack.http", {
  request = function(options)
    return request(options)
  end,
  get = function(url, options)
    return request(options, "GET", url)
  end,
  post = function(url, body, options)
    return request(options, "POST", url, body)
  end,
})

return sidestack
