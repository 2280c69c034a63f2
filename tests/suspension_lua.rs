//! The suspension matrix of Lua (see suspension/mod.rs); the table is docs/suspension-lua.md.
#![cfg(feature = "tokio")]

mod suspension;
mod web;

use std::path::Path;

use sidestack::{Engine, Error, Lua, Script};
use suspension::Expected::{Inapplicable, Refused};
use suspension::{Cell, Counts, FIBERS, Guest, PATIENCE, Point, Way, check_docs, module};

fn points() -> Vec<Point> {
    vec![
        Point {
            name: "sleep",
            text: "local function P(n) points.enter('@KEY@') ss.sleep(0.005) points.leave('@KEY@') return n end",
        },
        Point {
            name: "HTTP",
            text: "local function P(n)
                     local url = points.url(n)
                     points.enter('@KEY@')
                     local body = ss.http.get(url).body
                     points.leave('@KEY@')
                     return math.tointeger(tonumber(body))
                   end",
        },
        Point {
            name: "SQL",
            text: "local function P(n) points.enter('@KEY@') local v = points.sql(n) points.leave('@KEY@') return v end",
        },
        Point {
            name: "channel",
            text: "local function P(n)
                     local ch = ss.channel(1)
                     ss.spawn(function() points.sleep(2) ch:send(n) end)
                     points.enter('@KEY@')
                     local v = ch:recv()
                     points.leave('@KEY@')
                     return v
                   end",
        },
    ]
}

fn n(n: i64) -> String {
    n.to_string()
}

fn ways() -> Vec<Way> {
    let way = Way::new;
    vec![
        way("plain call", "return P(n)", n),
        way(
            "nested call",
            "local function a(x) local r = P(x) return r + 1 end
             local function b(x) local r = a(x) return r + 1 end
             return b(n)",
            |n| (n + 2).to_string(),
        ),
        way("tail call", "return P(n)", n),
        way("varargs", "return table.concat({ P(n), P(n), (select('#', P(n), P(n))) }, ' ')", |n| format!("{n} {n} 2")),
        way("callback of the host", "return points.each(P, n)", |n| (2 * n).to_string()),
        way("callback of the host, in its own callback", "return points.each(function(x) return points.each(P, x) end, n)", |n| {
            (4 * n).to_string()
        }),
        way("`table.sort` comparator", "local t = { 3, 1, 2 } table.sort(t, function(a, b) P(n) return a < b end) return table.concat(t)", |_| {
            "123".into()
        }),
        way("`string.gsub` function", "return (('ab'):gsub('%w', function(c) return c .. P(n) end))", |n| format!("a{n}b{n}")),
        way(
            "`string.gsub` table with `__index`",
            "return (('ab'):gsub('%w', setmetatable({}, { __index = function(_, c) return c .. P(n) end })))",
            |n| format!("a{n}b{n}"),
        ),
        way("`pcall`, `xpcall`", "local a, b = pcall(P, n) local c, d = xpcall(P, print, n) return tostring(a and c) .. b .. d", |n| {
            format!("true{n}{n}")
        }),
        way("`load` reader", "local done return load(function() if not done then done = true return 'return ' .. P(n) end end)()", n),
        way("`table.concat` through `__index`, `__len`", "return table.concat(setmetatable({}, { __index = function(_, i) return P(n) + i end, __len = function() P(n) return 2 end }), ' ')", |n| {
            format!("{} {}", n + 1, n + 2)
        }),
        way(
            "`table.insert`, `remove`, `move`, `unpack` through metamethods",
            "local real = { 1, 2 }
             local t = setmetatable({}, { __index = function(_, i) P(n) return real[i] end, __newindex = function(_, i, v) P(n) real[i] = v end, __len = function() return #real end })
             table.insert(t, 1, 0)
             table.remove(t)
             table.move(t, 1, 2, 2)
             return table.concat({ table.unpack(t) }, ' ')",
            |_| "0 0 1".into(),
        ),
        way("`ipairs` through `__index`", "local s = 0 for i, v in ipairs(setmetatable({}, { __index = function(_, i) if i < 3 then return P(n) + i end end })) do s = s + v end return s", |n| {
            (2 * n + 3).to_string()
        }),
        way("`tostring` and `string.format` through `__tostring`", "local t = setmetatable({}, { __tostring = function() return 'v' .. P(n) end }) return tostring(t) .. ('%s'):format(t)", |n| {
            format!("v{n}v{n}")
        }),
        way("`__index`", "return setmetatable({}, { __index = function(_, k) return P(n) .. k end }).x", |n| format!("{n}x")),
        way("`__newindex`", "local got local t = setmetatable({}, { __newindex = function(_, k, v) got = k .. P(n) .. v end }) t.x = 'y' return got", |n| {
            format!("x{n}y")
        }),
        way(
            "`__add`, `__sub`, `__mul`, `__div`, `__mod`, `__pow`, `__unm`, `__idiv`",
            "local m = {} for _, e in ipairs { 'add', 'sub', 'mul', 'div', 'mod', 'pow', 'unm', 'idiv' } do m['__' .. e] = function() return P(n) end end
             local t = setmetatable({}, m)
             return (t + 1) + (1 - t) + (t * t) + (t / 2) + (t % 2) + (t ^ 2) + (-t) + (t // 2)",
            |n| (8 * n).to_string(),
        ),
        way(
            "`__band`, `__bor`, `__bxor`, `__bnot`, `__shl`, `__shr`",
            "local m = {} for _, e in ipairs { 'band', 'bor', 'bxor', 'bnot', 'shl', 'shr' } do m['__' .. e] = function() return P(n) end end
             local t = setmetatable({}, m)
             return (t & 1) + (1 | t) + (t ~ t) + (~t) + (t << 1) + (t >> 1)",
            |n| (6 * n).to_string(),
        ),
        way("`__eq`", "local m = { __eq = function() return P(n) == n end } return tostring(setmetatable({}, m) == setmetatable({}, m))", |_| "true".into()),
        way("`__lt`, `__le`", "local m = { __lt = function() return P(n) ~= n end, __le = function() return P(n) == n end } local a, b = setmetatable({}, m), setmetatable({}, m) return tostring(a < b) .. tostring(a <= b)", |_| {
            "falsetrue".into()
        }),
        way("`__concat`", "local t = setmetatable({}, { __concat = function(a, b) return 'c' .. P(n) .. (type(b) == 'string' and b or '') end }) return 'x' .. (t .. 'y')", |n| {
            format!("xc{n}y")
        }),
        way("`__len`", "return #setmetatable({}, { __len = function() return P(n) end })", n),
        way("`__call`", "return setmetatable({}, { __call = function(_, x) return P(x) + 1 end })(n)", |n| (n + 1).to_string()),
        way("`__close`", "local got do local c <close> = setmetatable({}, { __close = function() got = P(n) end }) end return got", n),
        way("`__close` after an error", "local got pcall(function() local c <close> = setmetatable({}, { __close = function(_, e) got = P(n) .. e end }) error('e', 0) end) return got", |n| {
            format!("{n}e")
        }),
        way("`__pairs`", "local s = 0 for _, v in pairs(setmetatable({}, { __pairs = function() P(n) return function(_, i) if i < 2 then return i + 1, P(n) end end, nil, 0 end })) do s = s + v end return s", |n| {
            (2 * n).to_string()
        }),
        way("constructor", "local C = {} C.__index = C setmetatable(C, { __call = function(class, x) return setmetatable({ v = P(x) }, class) end }) local o = C(n) return o.v .. tostring(getmetatable(o) == C)", |n| {
            format!("{n}true")
        }),
        way("table constructor", "local t = { P(n), k = P(n), [P(n)] = 1, P(n) } return t[1] + t.k + t[2]", |n| {
            // With n = 1 or 2 the positional fields are set last.
            (3 * n).to_string()
        }),
        way("iterator of a generic `for`", "local s = 0 for i, v in function(_, i) if i < 3 then return i + 1, P(n) end end, nil, 0 do s = s + v end return s", |n| {
            (3 * n).to_string()
        }),
        way("closing value of a generic `for`", "local got for i in function(_, i) if i < 3 then return i + 1 end end, nil, 0, setmetatable({}, { __close = function() got = P(n) end }) do if i == 2 then break end end return got", n),
        way("error handler of `xpcall`", "local _, v = xpcall(error, function(e) return P(n) + e end, 1) return v", |n| (n + 1).to_string()),
        way("error handler after a failure in C", "local _, v = xpcall(string.rep, function(e) return P(n) .. type(e) end) return v", |n| format!("{n}string")),
        way("module loader", "return require('wait_@POINT@_' .. n)", n),
        Way { name: "shutdown hook", text: "", expected: Inapplicable("Lua has none") },
        way("coroutine, `resume`", "local co = coroutine.create(function(x) local a = P(x) local b = coroutine.yield(a) return P(n) + b end) local _, a = coroutine.resume(co, n) local _, b = coroutine.resume(co, 1) return a .. ' ' .. b", |n| {
            format!("{n} {}", n + 1)
        }),
        way("coroutine, `wrap`, in a `for`", "local s = 0 for v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(P(n) + i) end end) do s = s + v end return s", |n| {
            (3 * n + 6).to_string()
        }),
        way(
            "coroutines in coroutines",
            "local function deep(d) if d == 0 then return P(n) end return coroutine.wrap(function() coroutine.yield(deep(d - 1) + 1) end)() end
             return deep(5)",
            |n| (n + 5).to_string(),
        ),
        way("`coroutine.close` with a pending `__close`", "local got local co = coroutine.create(function() local c <close> = setmetatable({}, { __close = function() got = P(n) end }) coroutine.yield() end) coroutine.resume(co) return tostring(coroutine.close(co)) .. got", |n| {
            format!("true{n}")
        }),
        way(
            "all of them in one another",
            "local t = setmetatable({}, { __index = function(_, k) return (('x'):gsub('x', function()
               local out
               table.sort({ 2, 1 }, function(a, b) out = coroutine.wrap(function() return points.each(function(x) return select(2, pcall(P, x)) end, n) end)() return a < b end)
               return out .. k
             end)) end })
             return t.k",
            |n| format!("{}k", 2 * n),
        ),
        Way {
            name: "finalizer (`__gc`)",
            text: "local code
                   setmetatable({}, { __gc = function() local _, e = pcall(P, n) code = e.code end })
                   collectgarbage()
                   return tostring(code)",
            expected: Refused("cannot_suspend_in_finalizer"),
        },
        Way {
            name: "coroutine in a finalizer",
            text: "local code
                   setmetatable({}, { __gc = function() local _, e = pcall(coroutine.wrap(P), n) code = e.code end })
                   collectgarbage()
                   return tostring(code)",
            expected: Refused("cannot_suspend_in_finalizer"),
        },
    ]
}

const HEAD: &str = "local points, ss = require 'points', require 'sidestack'\n";

/// The row whose cells load modules of their own.
const LOADER: &str = "module loader";

struct OfLua;

impl Guest for OfLua {
    const WHO: &'static str = "Lua scripts";

    fn points(&self) -> Vec<Point> {
        points()
    }

    fn ways(&self) -> Vec<Way> {
        ways()
    }

    async fn load(&self, engine: &Engine, folder: &Path, cell: Cell<'_>) -> Result<Script, Error> {
        let (point, way) =
            (cell.point.text.replace("@KEY@", cell.key), cell.way.text.replace("@POINT@", cell.point.name));
        if cell.way.name == LOADER {
            for n in 0..FIBERS {
                let module = folder.join(format!("wait_{}_{n}.lua", cell.point.name));
                std::fs::write(module, format!("{HEAD}{point}\nreturn P({n})")).expect("a module");
            }
        }
        let path = folder.join(format!("{}.lua", cell.file));
        let text = format!(
            "{HEAD}{point}\nreturn function(n)\nlocal function cell()\n{way}\nend\nreturn tostring(cell())\nend"
        );
        std::fs::write(&path, text).expect("a script");
        engine.load(&path).await
    }

    async fn call(&self, script: &Script, _: Cell<'_>, n: i64) -> Result<String, Error> {
        script.call("default", n).deadline(PATIENCE).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_waits_for_everything() {
    let counts = Counts::default();
    let engine = Engine::builder(Lua::new().script_gc(true).unlimited_collectgarbage(true))
        .threads(1)
        .module(module(&counts, web::serve()))
        .build()
        .expect("an engine");
    let (table, wrong) = suspension::run(&OfLua, &engine, &counts).await;
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    // The interpreter is as good as before, the collector too.
    let kib: f64 = engine.eval("collectgarbage() return collectgarbage('count')").await.expect("the next call");
    assert!(kib > 0.0);
    assert_eq!(engine.metrics().quarantined, 0);
    check_docs("suspension-lua.md", &table);
}
