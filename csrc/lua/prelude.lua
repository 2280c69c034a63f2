-- The module `sidestack`, built once per interpreter from the host module sidestack.core. Runs when the interpreter
-- starts; what it returns is what `require "sidestack"` gives, read-only.
local core = ...
local sidestack = {}
for name, f in pairs(core) do
  sidestack[name] = f
end
sidestack.module_wait, sidestack.module_done = nil, nil -- for require alone

-- Tables inside the module are read-only like the module itself.
local function sealed(name, functions)
  local function refuse()
    error("'sidestack." .. name .. "' is read-only", 2)
  end
  return setmetatable({}, { __index = functions, __newindex = refuse, __metatable = false })
end

sidestack.json = sealed("json", { encode = core.json_encode, decode = core.json_decode, null = core.null()[1] })

local levels = {}
for _, level in ipairs { "error", "warn", "info", "debug", "trace" } do
  levels[level] = function(message, fields)
    return core.log(level, message, fields)
  end
end
sidestack.log = sealed("log", levels)

if core.http_request then -- the feature `tokio`
  local function with(method)
    -- http.get(url [, { headers =, body =, timeout =, redirects = }])
    return function(url, options)
      local request = { method = method, url = url }
      for name, value in pairs(options or {}) do
        request[name] = value
      end
      return core.http_request(request)
    end
  end
  sidestack.http = sealed("http", {
    request = core.http_request,
    get = with "GET",
    head = with "HEAD",
    post = with "POST",
    put = with "PUT",
    patch = with "PATCH",
    delete = with "DELETE",
  })
end

return sidestack
