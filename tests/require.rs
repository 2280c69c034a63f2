//! `require` in Lua scripts: files beside the script, host modules, loaders that wait.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::future::join_all;
use sidestack::{Cx, Engine, Error, Lua, Module, Script};

thread_local! {
    /// Of the interpreter that this thread is.
    static NOTES: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
}

fn engine() -> Engine {
    let app = Module::new("app").function("add", |a: i64, b: i64| Ok(a + b)).function("nap", async |cx: Cx, s: f64| {
        cx.sleep(Duration::from_secs_f64(s)).await;
        Ok(())
    });
    let notes = Module::new("notes")
        .function("add", |n: i64| {
            NOTES.with_borrow_mut(|notes| notes.push(n));
            Ok(())
        })
        .function("all", || Ok(NOTES.take()));
    Engine::builder(Lua::new())
        .threads(1)
        .module(notes)
        .grace(Duration::from_millis(50))
        .module(app)
        .build()
        .expect("an engine")
}

/// A folder with these files, and `main.lua` of it loaded.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    folder
}

fn load(engine: &Engine, folder: &Path) -> Script {
    block_on(engine.load(folder.join("main.lua"))).expect("a script")
}

#[track_caller]
fn gives(files: &[(&str, &str)], expected: &str) {
    let (engine, folder) = (engine(), folder(files));
    let script = load(&engine, folder.path());
    assert_eq!(block_on(script.call::<String>("default", ())).unwrap_or_else(|e| panic!("{e:?}")), expected);
}

#[test]
fn a_module_loads_once_and_is_shared() {
    let (engine, folder) = (
        engine(),
        folder(&[
            (
                "main.lua",
                "local c = require 'counter' return function() c.n = c.n + 1 return c.n .. tostring(require 'counter' == c) end",
            ),
            (
                "counter.lua",
                "assert(select('#', ...) == 2) local name, file = ... return { n = 0, name = name, file = file }",
            ),
            (
                "other.lua",
                "return function() return tostring(require 'counter'.n) .. require 'counter'.name .. require 'counter'.file end",
            ),
        ]),
    );
    let script = load(&engine, folder.path());
    // Module tables are shared by all calls of an interpreter, as documented.
    assert_eq!(block_on(script.call::<String>("default", ())).expect("one"), "1true");
    assert_eq!(block_on(script.call::<String>("default", ())).expect("two"), "2true");
    let other = block_on(engine.load(folder.path().join("other.lua"))).expect("another script of the folder");
    assert_eq!(block_on(other.call::<String>("default", ())).expect("other"), "2countercounter.lua");
}

#[test]
fn modules_of_two_folders_are_two() {
    let engine = engine();
    let main = ("main.lua", "return function() return require 'm'.who end");
    let (a, b) =
        (folder(&[main, ("m.lua", "return { who = 'a' }")]), folder(&[main, ("m.lua", "return { who = 'b' }")]));
    let (a, b) = (load(&engine, a.path()), load(&engine, b.path()));
    for (script, who) in [(&a, "a"), (&b, "b"), (&a, "a")] {
        assert_eq!(block_on(script.call::<String>("default", ())).unwrap_or_else(|e| e.to_string()), who);
    }
}

#[test]
fn dots_are_folders_and_init_is_found() {
    gives(
        &[
            ("main.lua", "return function() return require 'a.b.c' .. require 'a' .. require 'a.b' end"),
            ("a/b/c.lua", "return 'c'"),
            ("a/init.lua", "return 'a'"),
            ("a/b/init.lua", "return 'b'"),
            ("a.lua/nothing", ""),
        ],
        "cab",
    );
}

#[test]
fn a_module_without_a_value_is_true_and_false_is_kept() {
    gives(
        &[
            (
                "main.lua",
                "local n = 0 count = function() n = n + 1 end return function() local a, b = require 'none', require 'no' require 'no' return tostring(a) .. tostring(b) .. require 'count'.n end",
            ),
            ("none.lua", "local c = require 'count' c.n = c.n + 1"),
            ("no.lua", "local c = require 'count' c.n = c.n + 1 return false"),
            ("count.lua", "return { n = 0 }"),
        ],
        "truefalse2",
    );
}

#[test]
fn a_loader_may_wait_and_others_wait_for_it() {
    let (engine, folder) = (
        engine(),
        folder(&[
            ("main.lua", "return function(i) local m = require 'slow' m.users = m.users + 1 return m.loads end"),
            (
                "slow.lua",
                "local app, loads = require 'app', require 'loads' loads.n = loads.n + 1 app.nap(0.05) return { loads = loads.n, users = 0 }",
            ),
            ("loads.lua", "return { n = 0 }"),
        ]),
    );
    let script = load(&engine, folder.path());
    let calls = (0..50).map(|i| script.call::<i64>("default", i).deadline(Duration::from_secs(10)));
    for loads in block_on(join_all(calls)) {
        assert_eq!(loads.expect("a module"), 1);
    }
}

#[test]
fn a_loader_that_fails_is_tried_again() {
    let (engine, folder) = (
        engine(),
        folder(&[
            (
                "main.lua",
                "return function() local ok, e = pcall(require, 'bad') return tostring(ok) .. tostring(ok and e.n or e) end",
            ),
            (
                "bad.lua",
                "local s = require 'state' s.n = s.n + 1 require 'app'.nap(0.02) if s.n < 3 then error('try ' .. s.n) end return s",
            ),
            ("state.lua", "return { n = 0 }"),
            ("broken.lua", "return ]"),
        ]),
    );
    let script = load(&engine, folder.path());
    // The second waits for the first, which fails; then it loads by itself.
    let calls = (0..3).map(|_| script.call::<String>("default", ()).deadline(Duration::from_secs(10)));
    let got: Vec<String> = block_on(join_all(calls)).into_iter().map(|r| r.expect("a result")).collect();
    assert_eq!(got, ["falsebad.lua:1: try 1", "falsebad.lua:1: try 2", "true3"]);
    let syntax = block_on(engine.run_file::<String>(folder.path().join("broken.lua"), ())).expect_err("a syntax error");
    assert!(syntax.to_string().contains("broken.lua:1:"), "{syntax}");
}

#[test]
fn a_loader_that_is_cancelled_or_killed_leaves_the_module_unloaded() {
    for (name, body) in [
        ("waits", "require 'app'.nap(60)"),
        ("catches", "while true do pcall(require 'app'.nap, 60) end"),
        ("spins", "while true do end"),
        ("spins and catches", "while true do pcall(function() while true do end end) end"),
        ("in a coroutine", "coroutine.wrap(function() while true do pcall(require 'app'.nap, 60) end end)()"),
    ] {
        let (engine, folder) = (
            engine(),
            folder(&[
                ("main.lua", "return { use = function() return require 'm' end }"),
                ("m.lua", &format!("local s = require 'state' s.n = s.n + 1 if s.n == 1 then {body} end return s.n")),
                ("state.lua", "return { n = 0 }"),
            ]),
        );
        let script = load(&engine, folder.path());
        let first = script.call::<i64>("use", ()).deadline(Duration::from_millis(500));
        let second = script.call::<i64>("use", ()).deadline(Duration::from_secs(60));
        let (first, second) = block_on(async { futures_util::join!(first, second) });
        assert_eq!(first.expect_err(name).code(), Some("deadline"), "{name}");
        assert_eq!(second.expect(name), 2, "{name}");
    }
}

#[test]
fn one_that_waits_may_be_cancelled_alone() {
    let (engine, folder) = (
        engine(),
        folder(&[
            ("main.lua", "return function() return require 'slow' end"),
            ("slow.lua", "require 'app'.nap(1) return 7"),
        ]),
    );
    let script = load(&engine, folder.path());
    let loads = script.call::<i64>("default", ());
    let waits = script.call::<i64>("default", ()).deadline(Duration::from_millis(50));
    let (loads, waits) = block_on(async { futures_util::join!(loads, waits) });
    assert_eq!(waits.expect_err("cancelled").code(), Some("deadline"));
    assert_eq!(loads.expect("loaded"), 7);
    assert_eq!(block_on(script.call::<i64>("default", ())).expect("loaded"), 7);
}

#[test]
fn loops_are_an_error_in_one_fiber_and_across_two() {
    let (engine, folder) = (
        engine(),
        folder(&[
            (
                "main.lua",
                "return { own = function() return require 'self' end, a = function() return require 'a' end, b = function() return require 'b' end, co = function() return require 'co' end }",
            ),
            ("self.lua", "return require 'self'"),
            ("a.lua", "require 'app'.nap(0.05) return require 'b'"),
            ("b.lua", "require 'app'.nap(0.05) return require 'a'"),
            ("co.lua", "return coroutine.wrap(function() return require 'co' end)()"),
        ]),
    );
    let script = load(&engine, folder.path());
    for export in ["own", "a", "co"] {
        let error = block_on(script.call::<String>(export, ()).deadline(Duration::from_secs(10))).expect_err("a loop");
        assert!(error.to_string().contains("loop in require"), "{export}: {error}");
    }
    let (a, b) = (script.call::<String>("a", ()), script.call::<String>("b", ()));
    let both = block_on(async {
        futures_util::join!(a.deadline(Duration::from_secs(10)), b.deadline(Duration::from_secs(10)))
    });
    for outcome in [both.0, both.1] {
        let error = outcome.expect_err("a loop");
        assert!(error.to_string().contains("loop in require"), "{error}");
    }
}

#[test]
fn only_names_below_the_folder() {
    let (engine, folder) = (
        engine(),
        folder(&[
            ("main.lua", "return function(name) return require(name) end"),
            ("sub/main.lua", "return function(name) return require(name) end"),
            ("secret.lua", "return 'secret'"),
        ]),
    );
    let script = block_on(engine.load(folder.path().join("sub/main.lua"))).expect("a script");
    let long = "x".repeat(300);
    for name in [
        "..secret",
        "../secret",
        "..",
        ".",
        "",
        "/etc/passwd",
        "a..b",
        ".secret",
        "secret.",
        "\\secret",
        "x\0y",
        "...secret",
        &long,
    ] {
        let error = block_on(script.call::<String>("default", name)).expect_err(name);
        assert!(error.to_string().contains("bad module name"), "{name:?}: {error}");
    }
    let error = block_on(script.call::<String>("default", "secret")).expect_err("of the folder above");
    assert!(error.to_string().contains("not found") && error.to_string().contains("secret/init.lua"), "{error}");
    let error = block_on(script.call::<String>("default", 5)).expect_err("no file 5");
    assert!(matches!(error, Error::Script { .. }), "{error:?}");
}

#[test]
fn host_modules_and_libraries_come_first() {
    gives(
        &[
            (
                "main.lua",
                "return function() return tostring(require 'app'.add(1, 2)) .. tostring(require 'string' == string) .. type(require 'sidestack'.sleep) end",
            ),
            ("app.lua", "return { add = function() return 'mine' end }"),
            ("string.lua", "return 'mine'"),
        ],
        "3truefunction",
    );
    let error = block_on(engine().eval::<()>("require 'nothing'")).expect_err("there is no folder");
    assert!(error.to_string().contains("no host module"), "{error}");
}

#[test]
fn globals_of_a_module_belong_to_whoever_loads_it() {
    let (engine, folder) = (
        engine(),
        folder(&[
            (
                "main.lua",
                "require 'early' return function() local e, l = early, late require 'late' return tostring(e) .. tostring(l) .. tostring(late) end",
            ),
            ("early.lua", "early = 1"),
            ("late.lua", "late = 2"),
        ]),
    );
    let script = load(&engine, folder.path());
    assert_eq!(block_on(script.call::<String>("default", ())).expect("globals"), "1nil2");
    assert_eq!(block_on(script.call::<String>("default", ())).expect("globals"), "1nilnil");
}

#[test]
fn a_script_whose_chunk_waits_or_requires_is_loaded_first() {
    let (engine, folder) = (
        engine(),
        folder(&[
            (
                "main.lua",
                "#!/usr/bin/env sidestack\nlocal m = require 'm' require 'app'.nap(0.02) return function() return m end",
            ),
            ("m.lua", "require 'app'.nap(0.02) return 'm'"),
            ("failing.lua", "require 'app'.nap(0.01) require 'missing'"),
        ]),
    );
    let script = load(&engine, folder.path());
    assert_eq!(block_on(script.call::<String>("default", ())).expect("loaded"), "m");
    let error = block_on(engine.load(folder.path().join("failing.lua"))).expect_err("it fails");
    assert!(error.to_string().contains("failing.lua:1:"), "{error}");
    assert_eq!(block_on(script.call::<String>("default", ())).expect("still there"), "m");
}

/// Functions that outlive the run of a file, or its outcome, look where the file lies.
#[test]
fn functions_given_out_by_a_run_have_its_folder() {
    let (engine, folder) = (
        engine(),
        folder(&[
            (
                "main.lua",
                "local ss = require 'sidestack'
                 local function deep() return ss.spawn(function() return require 'sub.three' end):join() end
                 local one = ss.spawn(function() return require 'one' end):join()
                 local three = ss.spawn(deep):join()
                 return one, three, function(name) return require(name) end",
            ),
            ("one.lua", "return 1"),
            ("two.lua", "return 2"),
            ("sub/three.lua", "return 3"),
            (
                "fails.lua",
                "local c <close> = setmetatable({}, { __close = function() require 'notes'.add(require 'four') end })
                 error 'on purpose'",
            ),
            ("four.lua", "return 4"),
        ]),
    );
    let (one, three, get): (i64, i64, sidestack::Function) =
        block_on(engine.run_file(folder.path().join("main.lua"), ())).expect("it runs");
    assert_eq!((one, three), (1, 3));
    assert_eq!(block_on(get.call::<i64>("two")).expect("found"), 2);
    let elsewhere = tempfile::tempdir().expect("a folder");
    std::fs::write(
        elsewhere.path().join("main.lua"),
        "return (pcall(require('sidestack').spawn(function() return require 'two' end).join))",
    )
    .expect("a file");
    let found: bool = block_on(engine.run_file(elsewhere.path().join("main.lua"), ())).expect("it runs");
    assert!(!found, "in another's folder");
    // Clean-up after an error runs when the caller has it already.
    block_on(engine.run_file::<()>(folder.path().join("fails.lua"), ())).expect_err("on purpose");
    let begun = std::time::Instant::now();
    let mut notes = Vec::new();
    while notes.is_empty() && begun.elapsed() < Duration::from_secs(20) {
        notes = block_on(engine.eval::<Vec<i64>>("return require 'notes'.all()")).expect("asked");
    }
    assert_eq!(notes, [4]);
}
