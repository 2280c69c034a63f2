//! What one call of a Lua script does is nothing to the next, and no script reaches the process.

use futures_executor::block_on;
use sidestack::{Engine, HostObject, Lua, Members, Module, Object};

struct Counter;

impl HostObject for Counter {
    const NAME: &'static str = "Counter";
    fn members(members: &mut Members<Self>) {
        members.method("add", |_: &Self, n: i64| Ok(n + 1));
        members.get("value", |_: &Self| Ok(7));
    }
}

fn engine_of(guest: Lua) -> Engine {
    let app = Module::new("app")
        .object::<Counter>()
        .function("add", |a: i64, b: i64| Ok(a + b))
        .function("counter", || Ok(Object::new(Counter)));
    Engine::builder(guest).threads(1).module(app).build().expect("an engine")
}

fn engine() -> Engine {
    engine_of(Lua::new())
}

#[track_caller]
fn eval(engine: &Engine, text: &str) -> String {
    block_on(engine.eval::<String>(text)).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// Each text is tried plainly, in a coroutine, through load and in a metamethod; then another call looks.
#[track_caller]
fn leaks_nothing(tried: &str, probe: &str, expected: &str) {
    let wrapped = [
        format!("pcall(function() {tried} end) return ''"),
        format!("pcall(coroutine.wrap(function() {tried} end)) return ''"),
        format!("pcall(load([==[{tried}]==])) return ''"),
        format!("pcall(function() return setmetatable({{}}, {{ __index = function() {tried} end }}).x end) return ''"),
        format!(
            "local co = coroutine.create(function() coroutine.yield() {tried} end) coroutine.resume(co) coroutine.resume(co) return ''"
        ),
    ];
    for text in wrapped {
        let engine = engine();
        assert_eq!(eval(&engine, probe), expected, "before {text}");
        eval(&engine, &text);
        assert_eq!(eval(&engine, probe), expected, "after {text}");
    }
}

#[test]
fn globals_end_with_their_call() {
    for tried in [
        "x = 1",
        "load('x = 1')()",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "_ENV.x = 1",
        "getfenv = 1 x = 1",
        "for _, name in ipairs { 'x' } do _G[name] = 1 end",
        "function x() end",
        "load('_ENV.x = 1', 'c', 't')()",
        "local f = load('x = 1') f()",
        "package.loaded._G.x = 1",
        "setmetatable(_G, { __index = { x = 1 } })",
    ] {
        leaks_nothing(
            tried,
            "return tostring(x) .. tostring(rawget(_G, 'x')) .. tostring(_G.x) .. tostring(load('return x')())",
            "nilnilnilnil",
        );
    }
}

#[test]
fn globals_are_seen_by_their_own_call() {
    let seen = eval(
        &engine(),
        "x = 1
         local out = { x, _G.x, rawget(_G, 'x'), load('return x')(), coroutine.wrap(function() return x end)() }
         load('y = 2')()
         rawset(_G, 'z', 3)
         local keys = {}
         for k in pairs(_G) do keys[k] = true end
         for k in next, _G do keys[k] = keys[k] and 2 end
         return table.concat(out, ',') .. y .. z .. tostring(keys.x) .. tostring(keys.print) .. tostring(keys._G)",
    );
    assert_eq!(seen, "1,1,1,1,12322".to_string() + "2");
    // Deleting and shadowing are one's own, too.
    let engine = engine();
    assert_eq!(eval(&engine, "print = nil string = 5 return tostring(string)"), "5");
    assert_eq!(eval(&engine, "return type(print) .. type(string)"), "functiontable");
}

#[test]
fn libraries_and_modules_cannot_be_changed() {
    for place in [
        "string",
        "table",
        "math",
        "coroutine",
        "utf8",
        "os",
        "debug",
        "package",
        "package.loaded",
        "require 'app'",
        "require 'sidestack'",
        "require 'sidestack'.json",
        "require 'sidestack'.http",
        "require 'sidestack'.log",
        "getmetatable('').__index",
        "(getmetatable('') or {})",
        "package.loaded.string",
        "getmetatable(_G)",
        "getmetatable(string)",
        "getmetatable(require 'app')",
        "getmetatable(require 'app'.counter())",
        "getmetatable(select(2, pcall(require 'app'.add)))",
        "getmetatable(io)",
    ] {
        let probe =
            format!("local ok, v = pcall(function() return ({place}).leak end) return tostring(ok and v or nil)");
        for tried in [
            format!("({place}).leak = 1"),
            format!("rawset({place}, 'leak', 1)"),
            format!("table.insert({place}, 'leak')"),
            format!("setmetatable({place}, {{ __index = {{ leak = 1 }} }})"),
            format!("({place}).__index = {{ leak = 1 }}"),
            format!("table.move({{ 1 }}, 1, 1, 'leak', {place})"),
            format!("for _, t in pairs({place}) do t.leak = 1 end"),
        ] {
            let engine = engine();
            eval(&engine, &format!("pcall(function() {tried} end) return ''"));
            eval(&engine, &format!("pcall(coroutine.wrap(function() {tried} end)) return ''"));
            assert_eq!(eval(&engine, &probe), "nil", "{tried}");
            assert_eq!(eval(&engine, "return #string .. ('x'):upper() .. type(table.insert)"), "0Xfunction", "{tried}");
        }
    }
}

#[test]
fn protected_tables_still_read_like_tables() {
    let got = eval(
        &engine(),
        "local out = {}
         local function note(v) out[#out + 1] = tostring(v) end
         local n = 0
         for k, v in pairs(string) do n = n + (type(v) == 'function' and 1 or 0) end
         note(n >= 16) -- all but dump
         local m = 0
         for k, v in next, math do m = m + 1 end
         note(m > 20)
         note(rawget(string, 'rep') == string.rep)
         note(rawlen(table)) note(#table)
         note(rawequal(string, package.loaded.string))
         note(getmetatable(string)) note(getmetatable(''))
         note(pcall(rawset, string, 'x', 1))
         note(type(next(package.loaded)))
         note(require 'string' == string)
         note(require '_G' == _G)
         note(select(2, pcall(function() string.x = 1 end)):match(\"'string' is read.only\") ~= nil)
         return table.concat(out, ' ')",
    );
    assert_eq!(got, "true true true 0 0 true false false false string true true true");
}

/// A value that stands for the library table itself must not come out of any function.
#[test]
fn the_real_tables_stay_inside() {
    let got = eval(
        &engine(),
        "local bad = {}
         local function try(name, f, ...)
           local all = table.pack(pcall(f, ...))
           for i = 2, all.n do
             local v = all[i]
             if type(v) == 'table' and v ~= _G and pcall(function() v.leaked = 1 end) and v.leaked then bad[#bad + 1] = name end
           end
         end
         for _, t in ipairs { string, table, math, coroutine, utf8, os, debug, package, package.loaded, require 'app' } do
           try('pairs', pairs, t)
           try('ipairs', ipairs, t)
           try('getmetatable', getmetatable, t)
           try('setmetatable', setmetatable, t, {})
           try('rawget', rawget, t, '__index')
           try('next', next, t)
           try('metaindex', function() return t.__index, t.__metatable end)
         end
         try('env', pairs, _G)
         try('env', getmetatable, _G)
         try('env', setmetatable, _G, nil)
         return table.concat(bad, ',')",
    );
    // pairs(_G) walks a copy, which is the caller's own: changing it changes nothing.
    assert_eq!(got, "env");
    leaks_nothing(
        "local _, copy = pairs(_G) copy.print = nil copy.leak = 1 copy.string.leak = 1",
        "return type(print) .. tostring(leak) .. tostring(string.leak)",
        "functionnilnil",
    );
}

#[test]
fn random_numbers_are_the_calls_own() {
    let engine = engine();
    let seeded =
        "math.randomseed(42) local t = {} for i = 1, 5 do t[i] = math.random(1000000) end return table.concat(t, ' ')";
    let first = eval(&engine, seeded);
    assert_eq!(eval(&engine, seeded), first);
    let free = "return math.random(0) .. ' ' .. math.random(0)";
    assert_ne!(eval(&engine, free), eval(&engine, free), "an earlier call's seed is still in force");
    // Two fibers at the same time, a turn each.
    let interleaved = eval(
        &engine,
        "local ss = require 'sidestack'
         local function draw() math.randomseed(7) local t = {} for i = 1, 5 do t[i] = math.random(1000000) ss.yield() end return table.concat(t, ' ') end
         local a, b = ss.spawn(draw), ss.spawn(draw)
         return tostring(a:join() == b:join())",
    );
    assert_eq!(interleaved, "true");
}

#[test]
fn the_collector_is_not_a_scripts_to_stop() {
    let engine = engine();
    for option in ["stop", "restart", "incremental", "generational", "setpause", "setstepmul"] {
        let text = format!("return tostring((pcall(collectgarbage, '{option}')))");
        assert_eq!(eval(&engine, &text), "false", "{option}");
    }
    let got = eval(
        &engine,
        "return tostring(collectgarbage('isrunning')) .. type(collectgarbage('count')) .. tostring(collectgarbage()) .. type(collectgarbage('step'))",
    );
    assert_eq!(got, "truenumber0boolean");
}

#[test]
fn what_reaches_the_process_is_absent() {
    let absent = eval(
        &engine(),
        "local out = {}
         for _, name in ipairs { 'io', 'os.exit', 'os.setlocale', 'os.execute', 'os.remove', 'os.rename', 'os.tmpname',
             'dofile', 'loadfile', 'debug.getregistry', 'debug.getupvalue', 'debug.setmetatable', 'debug.sethook', 'debug.getinfo', 'debug.getmetatable', 'debug.debug', 'debug.upvaluejoin',
             'package.loadlib', 'package.cpath', 'package.path', 'package.preload', 'package.searchers', 'package.searchpath' } do
           if load('return ' .. name)() ~= nil then out[#out + 1] = name end
         end
         for _, name in ipairs { 'io', 'package.loadlib', 'sidestack.core' } do
           if pcall(require, name) then out[#out + 1] = 'require ' .. name end
         end
         return table.concat(out, ' ') .. type(os.time()) .. type(os.clock()) .. type(os.date()) .. type(os.getenv) .. type(debug.traceback())",
    );
    assert_eq!(absent, "numbernumberstringfunctionstring");
}

#[test]
fn finalizers_of_scripts_are_refused() {
    let got = eval(
        &engine(),
        "local out = {}
         for _, v in ipairs { function() end, 1, true, 'x', {} } do
           local ok, e = pcall(setmetatable, {}, { __gc = v })
           out[#out + 1] = tostring(ok) .. tostring(e:find('script_gc', 1, true) ~= nil)
         end
         out[#out + 1] = tostring(pcall(coroutine.wrap(setmetatable), {}, { __gc = print }))
         -- Set later, a finalizer is none: Lua looks at setmetatable only.
         local ran = false
         local meta = {}
         setmetatable({}, meta)
         meta.__gc = function() ran = true end
         for _ = 1, 20 do local t = {} for i = 1, 1000 do t[i] = {} end collectgarbage() end
         out[#out + 1] = tostring(ran)
         return table.concat(out, ' ')",
    );
    assert_eq!(got, "falsetrue falsetrue falsetrue falsetrue falsetrue false false");
}

#[test]
fn bytecode_is_refused_however_it_comes() {
    let got = eval(
        &engine(),
        "assert(string.dump == nil) -- it recurses without a look at the stack
         local code = '\\27Lua\\84\\0\\25\\147\\13\\10\\26\\10'
         local out = {}
         for _, mode in ipairs { 'b', 'bt', 't', 'x' } do out[#out + 1] = tostring(load(code, 'c', mode)) end
         out[#out + 1] = tostring(load(code))
         local given = false
         out[#out + 1] = tostring(load(function() if not given then given = true return code end end, 'c', 'b'))
         given = false
         out[#out + 1] = tostring(load(function() if not given then given = true return code end end))
         local at = 0
         out[#out + 1] = tostring(load(function() at = at + 1 return code:sub(at, at) end))
         out[#out + 1] = tostring(coroutine.wrap(load)(code))
         return table.concat(out, ' ') .. type(load('return 1')) .. load('return ...', 'c', 't', {})(5) .. tostring(load('return x', 'c', nil, { x = 6 })())",
    );
    assert_eq!(got, "nil nil nil nil nil nil nil nil nil".to_string() + "function56");
}

#[test]
fn errors_and_objects_hide_their_metatables() {
    let got = eval(
        &engine(),
        "local app = require 'app'
         local _, e = pcall(app.add)
         local c = app.counter()
         local out = {}
         for _, v in ipairs { e, c } do
           out[#out + 1] = tostring(getmetatable(v)) .. tostring((pcall(setmetatable, v, {})))
             .. tostring((pcall(function() v.x = 1 end))) .. tostring((pcall(rawset, v, 'x', 1))) .. tostring((pcall(rawget, v, '__index')))
         end
         out[#out + 1] = type(e.code) .. tostring(e.x) .. tostring(c.value) .. tostring(c:add(1)) .. tostring(c.nope) .. tostring(c.__gc) .. tostring(c.__index)
         out[#out + 1] = tostring((pcall(c.add, e, 1))) .. tostring((pcall(c.add, {}, 1))) .. tostring((pcall(c.add)))
         return table.concat(out, ' ')",
    );
    assert_eq!(got, "falsefalsefalsefalsefalse falsefalsefalsefalsefalse stringnil72nilnilnil falsefalsefalse");
}

#[test]
fn a_calls_own_thread_is_no_coroutine() {
    let got = eval(
        &engine(),
        "local co, main = coroutine.running()
         local out = { tostring(main), tostring(coroutine.isyieldable()), tostring((pcall(coroutine.yield))),
                       tostring((coroutine.resume(co))), tostring((pcall(coroutine.close, co))), coroutine.status(co) }
         coroutine.wrap(function()
           out[#out + 1] = tostring((coroutine.resume(co))) .. tostring((pcall(coroutine.close, co))) .. coroutine.status(co)
         end)()
         return table.concat(out, ' ')",
    );
    assert_eq!(got, "true false false false false running falsefalsenormal");
}

#[test]
fn each_setting_turns_its_library_on() {
    let cases: [(&str, Lua, &str); 8] = [
        ("debug", Lua::new().debug(true), "return tostring(debug.getinfo(1) ~= nil and debug.getregistry ~= nil)"),
        ("os_exit", Lua::new().os_exit(true), "return tostring(os.exit ~= nil)"),
        ("os_setlocale", Lua::new().os_setlocale(true), "return tostring(os.setlocale('C') ~= nil)"),
        (
            "io",
            Lua::new().io(true),
            "return tostring(io.open('/dev/null') ~= nil and os.remove ~= nil and os.tmpname ~= nil and dofile ~= nil and loadfile ~= nil and require 'io' == io)",
        ),
        (
            "script_gc",
            Lua::new().script_gc(true),
            "local ran = false setmetatable({}, { __gc = function() ran = true end }) for _ = 1, 100 do local t = {} for i = 1, 1000 do t[i] = {} end collectgarbage() end return tostring(ran)",
        ),
        (
            "unlimited_collectgarbage",
            Lua::new().unlimited_collectgarbage(true),
            "collectgarbage('stop') local r = collectgarbage('isrunning') collectgarbage('restart') return tostring(not r and collectgarbage('generational') ~= nil)",
        ),
        (
            "binary_chunks",
            Lua::new().binary_chunks(true),
            "return tostring(load(string.dump(function() return 1 end))() == 1)",
        ),
        (
            "all",
            Lua::new().with_all_libraries(),
            "return tostring(debug.getinfo ~= nil and os.exit ~= nil and io ~= nil and os.setlocale ~= nil and load('\\27Lua\\84\\0\\25\\147\\13\\10\\26\\10') == nil)",
        ),
    ];
    for (name, guest, probe) in cases {
        assert_eq!(eval(&engine_of(guest), probe), "true", "{name}");
        if name != "all" {
            let without = block_on(engine().eval::<String>(probe));
            assert_ne!(without.ok().as_deref(), Some("true"), "{name} is on without its setting");
        }
    }
}

#[test]
fn io_reads_text_only_and_hides_its_handles() {
    let got = eval(
        &engine_of(Lua::new().io(true)),
        "local name = os.tmpname()
         local f = assert(io.open(name, 'wb'))
         f:write('\\27Lua\\84\\0\\25\\147\\13\\10\\26\\10')
         f:close()
         local out = { tostring(loadfile(name)), tostring((pcall(dofile, name))), tostring(loadfile(name, 'b')), tostring(getmetatable(f)) }
         f = assert(io.open(name, 'w')) f:write('return 5') f:close()
         out[#out + 1] = loadfile(name)() .. dofile(name)
         os.remove(name)
         return table.concat(out, ' ')",
    );
    assert_eq!(got, "nil false nil false 55");
}

#[test]
fn globals_are_cleared_as_in_plain_lua() {
    let engine = engine();
    for (text, expected) in [
        ("print = nil return tostring(print) .. type(tostring)", "nilfunction"),
        ("_G.print = nil return tostring(print) .. tostring(rawget(_G, 'print'))", "nilnil"),
        ("rawset(_G, 'print', nil) return tostring(print)", "nil"),
        ("print = 5 print = nil return tostring(print)", "nil"),
        ("x = 1 print = nil return tostring(print) .. x", "nil1"),
        ("x = 1 x = nil return tostring(x)", "nil"),
        ("x = nil return tostring(x) .. type(print)", "nilfunction"),
        ("print = nil print = 6 return tostring(print)", "6"),
        ("print = nil for k in pairs(_G) do assert(k ~= 'print') end return tostring(next(_G) ~= nil)", "true"),
        (
            "local G, n, next, tostring = _G, 0, next, tostring for k in next, G do n = n + 1 G[k] = nil end return tostring(n > 20) .. tostring(next(G))",
            "truenil",
        ),
        (
            "local n, next, tostring = 0, next, tostring x, y, z = 1, 2, 3 for k in next, _G do if #k == 1 then n = n + 1 _G[k] = nil end end return n .. tostring(x) .. type(print)",
            "3nilfunction",
        ),
        (
            "local G, tostring = _G, tostring for k in pairs(G) do G[k] = nil end return tostring(next) .. tostring(_G)",
            "nilnil",
        ),
        ("local co = coroutine.wrap(function() print = nil end) co() return tostring(print)", "nil"),
    ] {
        assert_eq!(eval(&engine, text), expected, "{text}");
        assert_eq!(
            eval(&engine, "return type(print) .. tostring(x) .. type(next) .. type(_G)"),
            "functionnilfunctiontable",
            "after {text}"
        );
    }
    // What a script clears while it loads is cleared for its calls, and for nobody else.
    let script = block_on(engine.load_text(
        "bare",
        "print = nil kept = 1 local next = next
         return {
           look = function() return tostring(print) .. tostring(kept) end,
           clear = function() kept = nil return tostring(print) .. tostring(kept) end,
           each = function() local n = 0 for k in next, _G do assert(k ~= 'print') n = n + (k == 'kept' and 1 or 0) end return tostring(n) end,
         }",
    ))
    .expect("a script");
    for (export, expected) in [("look", "nil1"), ("clear", "nilnil"), ("look", "nil1"), ("each", "1")] {
        assert_eq!(block_on(script.call::<String>(export, ())).expect(export), expected, "{export}");
    }
    assert_eq!(eval(&engine, "return type(print) .. tostring(kept)"), "functionnil");
}

/// How often the process has this file open.
fn opened(path: &std::path::Path) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").expect("Linux");
    fds.flatten().filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == path)).count()
}

#[test]
fn an_interrupted_loadfile_closes_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.lua");
    // A first line for the shell is skipped before anything is compiled.
    std::fs::write(&path, format!("#{}\nreturn ...", "x".repeat(30_000_000))).expect("a file");
    for guest in [Lua::new().io(true), Lua::new().io(true).binary_chunks(true)] {
        let engine = engine_of(guest);
        for call in ["loadfile(...)", "dofile(...)"] {
            let text = format!("while true do {call} end");
            for _ in 0..3 {
                let endless =
                    engine.eval_with::<()>(&text, path.to_str()).deadline(std::time::Duration::from_millis(100));
                assert_eq!(block_on(endless).expect_err("no end").code(), Some("deadline"));
            }
        }
        // What a failed call left open is closed when its caller has the error already.
        let begun = std::time::Instant::now();
        while opened(&path) > 0 {
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{} left open", opened(&path));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let got = block_on(engine.eval_with::<(i64, String)>(
            "local path = ... local ok, e = loadfile('/nowhere') return assert(loadfile(path))(7), e",
            path.to_str(),
        ));
        assert_eq!(got.expect("loaded"), (7, "cannot open /nowhere: No such file or directory".into()));
    }
}
