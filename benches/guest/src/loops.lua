-- The loops that both sides of a comparison run: ours, and the others' (benches/peers), who pass the module.
local bench = ... or require 'bench'
local now = bench.now

local function timed(f)
  return function(n)
    f(64)
    local begun = now()
    f(n)
    return now() - begun
  end
end

local nothing, add, wait = bench.nothing, bench.add, bench.wait
local sleep = bench.sleep or require 'sidestack'.sleep
local leaf, leaf_add = bench.leaf, bench.leaf_add
return {
  nothing = timed(function(n) for _ = 1, n do nothing() end end),
  add = timed(function(n) for i = 1, n do add(i, 1) end end),
  leaf = timed(function(n) for _ = 1, n do leaf() end end),
  leaf_add = timed(function(n) for i = 1, n do leaf_add(i, 1) end end),
  wait = timed(function(n) for _ = 1, n do wait() end end),
  empty = function() end,
  gate = bench.gate,
  now = now,
  naps = function(n) for _ = 1, n do sleep(0.001) end end,
  forever = bench.forever,
}
