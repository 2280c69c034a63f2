//! Where requests are: the stacks of their scripts, while they wait, run, and hang.

#[path = "../found/mod.rs"]
mod found;

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use found::only;
use futures_executor::block_on;
use sidestack::{Engine, FiberInfo, FiberState, Language, Module, Script};

use crate::stage::builder;

const PAGE: &str = "<?php
class Page {
  function show() { return
    $this->wait();
  }
  static function wait() { try {
    Sidestack\\sleep(60); } finally { }
  }
}
return [
  'deep' => function () { return array_map(
    fn ($n) => (new Page)->show(), [1]);
  },
  'fibers' => function () {
    $outer = new Fiber(function () {
      $inner = new Fiber(function () {
        usleep(60_000_000);
      });
      $inner->start();
    });
    $outer->start();
  },
  'left' => function () {
    $left = new Fiber(function () { Fiber::suspend(); });
    $left->start();
    Page::wait();
  },
  'host' => function () {
    host\\each(function ($n) {
      Page::wait();
    }, 1);
  },
  'spin' => function () {
    while (true) {
    }
  },
  'block' => function () {
    $f = new Fiber(function () {
      app\\block();
    });
    $f->start();
  },
  'compute' => function () {
    hash_pbkdf2('sha256', 'password', 'salt', 3000000);
  },
];";

/// The page, and what ends one `app\block()`.
fn page() -> (Engine, Script, Sender<()>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let app = Module::new("app").function("block", move || {
        let _ = wait.lock().expect("not poisoned").recv();
        Ok(())
    });
    let engine = builder().module(app).module(crate::functions::host()).build().expect("an engine");
    let script = block_on(engine.load_text("page.php", PAGE)).expect("a script");
    (engine, script, go)
}

/// Nobody is left.
fn quiet(engine: &Engine) {
    let begun = Instant::now();
    while engine.metrics().fibers > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "a fiber does not go");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn script(fiber: &FiberInfo) -> Vec<String> {
    fiber.backtrace.of(Language::Script).map(ToString::to_string).collect()
}

#[test]
fn the_whole_stack_of_a_request_that_waits_is_told() {
    let (engine, page, _) = page();
    let cases: [(&str, &[&str]); 4] = [
        ("deep", &["7 in Page::wait()", "4 in Page->show()", "12 in {closure}()", "11 in {closure}()"]),
        ("fibers", &["17 in {closure}()", "19 in {closure}()", "21 in {closure}()"]),
        ("left", &["7 in Page::wait()", "26 in {closure}()"]),
        ("host", &["7 in Page::wait()", "30 in {closure}()", "29 in {closure}()"]),
    ];
    for (name, lines) in cases {
        let call = engine.spawn(page.call::<()>(name, ())).expect("begun");
        let fiber = only(&engine, |fiber| fiber.state == FiberState::Waiting && fiber.at.is_some());
        let told = script(&fiber);
        // Below it the script itself, which has returned by now.
        assert_eq!(told, lines.iter().map(|line| format!("script page.php:{line}")).collect::<Vec<_>>(), "{name}");
        assert_eq!(
            Some(format!("script {}", fiber.at.as_deref().expect("a place"))),
            told[0].split(" in ").next().map(str::to_owned)
        );
        let c: Vec<_> = fiber.backtrace.of(Language::C).map(|frame| frame.function.as_str()).collect();
        assert!(c.contains(&"ss_host_call") || c.contains(&"ss_cross_host_call"), "{name}: {}", fiber.backtrace);
        drop(call);
        quiet(&engine);
    }
    // Suspended requests beside each other have each their own.
    let calls: Vec<_> =
        ["deep", "left", "host"].map(|name| engine.spawn(page.call::<()>(name, ()).label(name)).expect("begun")).into();
    let begun = Instant::now();
    let found = loop {
        let found = block_on(engine.fibers_with_stacks());
        if found.len() == 3 && found.iter().all(|fiber| fiber.state == FiberState::Waiting && fiber.at.is_some()) {
            break found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{found:?}");
    };
    for fiber in &found {
        let (_, lines) = cases.iter().find(|(name, _)| Some(*name) == fiber.label.as_deref()).expect("a case");
        assert_eq!(script(fiber).len(), lines.len(), "{}", fiber.backtrace);
    }
    drop(calls);
}

#[test]
fn the_stack_of_a_request_that_runs_or_hangs_is_told() {
    let (engine, page, go) = page();
    let call = engine.spawn(page.call::<()>("spin", ())).expect("begun");
    let fiber = only(&engine, |fiber| fiber.state == FiberState::Running && fiber.at.is_some());
    assert!(script(&fiber)[0].starts_with("script page.php:3"), "{}", fiber.backtrace);
    drop(call);
    quiet(&engine);
    // In a host function, below a Fiber; and in C code of PHP's own.
    for (name, lines) in [
        ("block", &["script page.php:39 in {closure}()", "script page.php:41 in {closure}()"][..]),
        ("compute", &["script page.php:44 in {closure}()"]),
    ] {
        let call = engine.spawn(page.call::<()>(name, ())).expect("begun");
        let fiber = only(&engine, |fiber| fiber.held.is_some() && fiber.at.is_some());
        go.send(()).expect("it waits, or nobody does");
        assert_eq!(script(&fiber), lines, "{name}: {}", fiber.backtrace);
        block_on(call).expect("it ends");
        quiet(&engine);
    }
}
