-- The module `sidestack`, built once per interpreter from the host module sidestack.core. Runs when the interpreter
-- starts; what it returns is what `require "sidestack"` gives, read-only.
local core = ...
local sidestack = {}
for name, f in pairs(core) do
  sidestack[name] = f
end
sidestack.module_wait, sidestack.module_done = nil, nil -- for require alone
return sidestack
