//! The suspension matrix of plain C and C++ (see tests/suspension); the table is docs/suspension-native.md.

#[path = "../../suspension/mod.rs"]
mod suspension;
#[path = "../../web/mod.rs"]
mod web;

use std::path::Path;

use sidestack::{Engine, Error, Script};
use sidestack_test_native::ways;
use suspension::Expected::{Inapplicable, Refused};
use suspension::{Cell, Counts, Guest, PATIENCE, Point, Way, check_docs, module};

/// The row that is a host function instead of a C function.
const IN_HOST: &str = "in_host";

fn n(n: i64) -> String {
    n.to_string()
}

fn sorted(_: i64) -> String {
    "123".into()
}

struct OfC;

impl Guest for OfC {
    const WHO: &'static str = "C and C++";

    fn points(&self) -> Vec<Point> {
        ["sleep", "HTTP", "SQL", "channel"].into_iter().map(|name| Point { name, text: name }).collect()
    }

    fn ways(&self) -> Vec<Way> {
        let way = Way::new;
        let refused = |name, text, code| Way { name, text, expected: Refused(code) };
        let none = |name, why| Way { name, text: "", expected: Inapplicable(why) };
        vec![
            way("plain call", "plain", n),
            way("nested call", "nested", |n| (n + 2).to_string()),
            way("through a pointer", "pointer", n),
            way("large and variable frames, floating point", "frame", |n| (2 * n).to_string()),
            way("callback of the host", "callback", |n| (2 * n).to_string()),
            way("callback of the host, in its own callback", "callback_in_callback", |n| (4 * n).to_string()),
            way("callback called by C", "callback_of_c", n),
            way("after a failed host call, and after a failed callback", "after_failure", n),
            way("`qsort` comparator", "qsort", sorted),
            way("`qsort_r` comparator", "qsort_r", sorted),
            way("`bsearch` comparator", "bsearch", |_| "3".into()),
            way("`lfind` comparator", "lfind", |_| "2".into()),
            way("`tsearch` comparator, `twalk_r` action", "tree", |n| (6 + 3 * n).to_string()),
            way("write function of a stream (`fopencookie`)", "stream", |n| format!("{n}+{n}")),
            way("`__attribute__((cleanup))`", "cleanup", |n| (n + 1).to_string()),
            way("`destroy` of a handle that the fiber releases", "destroy", |n| (n + 1).to_string()),
            way("before and after a `longjmp`", "after_jump", n),
            way("`swapcontext`, on a stack of C's own", "coroutine", |n| (3 * n).to_string()),
            way("`swapcontext` in `swapcontext`", "coroutine_in_coroutine", |n| (9 * n).to_string()),
            way("fiber that the fiber starts and joins", "spawned", n),
            way("all of them in one another", "all", |n| (6 * n + 2).to_string()),
            way("C++ constructor", "cpp_constructor", n),
            way("C++ destructor", "cpp_destructor", n),
            way("C++ destructor while unwinding, and handler", "cpp_unwinding", |n| (2 * n).to_string()),
            way("C++ virtual method", "cpp_virtual", n),
            way("C++ operators", "cpp_operator", |n| (2 * n + 1).to_string()),
            way("C++ iterator of a range `for`", "cpp_iterator", |_| "3".into()),
            way("C++ `std::sort` comparator", "cpp_sort", sorted),
            way("C++ closure in a `std::function`", "cpp_closure", n),
            refused("signal handler", "signal", "in_signal_handler"),
            refused("C that a host function calls", IN_HOST, "cannot_suspend_on_thread"),
            none("shutdown hook (`atexit`), constructor of a library", "no fiber runs there"),
            none("`destroy` of a handle that its interpreter closes", "no fiber runs there"),
        ]
    }

    async fn load(&self, engine: &Engine, _: &Path, _: Cell<'_>) -> Result<Script, Error> {
        engine.load_text("native", "").await
    }

    async fn call(&self, script: &Script, cell: Cell<'_>, n: i64) -> Result<String, Error> {
        let call = match cell.way.text {
            IN_HOST => script.call("call_text", ("points.in_host", n, cell.point.name, cell.key)),
            way => script.call(way, (n, cell.point.name, cell.key)),
        };
        call.deadline(PATIENCE).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_in_waits_for_everything() {
    let counts = Counts::default();
    let native = match ways::native() {
        Ok(native) => native,
        Err(error) if std::env::var_os("CI").is_none() => return println!("SKIPPED: {error}"),
        Err(error) => panic!("CI must run this test: {error}"),
    };
    let module = module(&counts, web::serve())
        .function("in_host", |n: i64, point: String, key: String| Ok(ways::in_host(n, &point, &key)));
    let engine = Engine::builder(native).threads(1).module(module).build().expect("an engine");
    let (table, wrong) = suspension::run(&OfC, &engine, &counts).await;
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    assert_eq!(engine.metrics().quarantined, 0);
    check_docs("suspension-native.md", &table);
}
