//! What the tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use serde::de::DeserializeOwned;
use sidestack::{Builder, Engine, Error, Module, Php};
use tokio::sync::Semaphore;

/// The one PHP of this process. With SIDESTACK_TEST_JIT=function it compiles functions to machine code.
pub fn php() -> Php {
    // Files that were written just now are cached too.
    let php = Php::new().ini("memory_limit", "64M").ini("opcache.file_update_protection", "0");
    match std::env::var("SIDESTACK_TEST_JIT") {
        Ok(jit) => php.ini("opcache.jit", jit).ini("opcache.jit_buffer_size", "64M"),
        Err(_) => php,
    }
}

/// An engine of one interpreter, to be changed. With SIDESTACK_TEST_FIBERS it has stacks for no more than so many.
pub fn builder() -> Builder<Php> {
    let builder = Engine::builder(php()).threads(1).grace(Duration::from_millis(100));
    match std::env::var("SIDESTACK_TEST_FIBERS") {
        Ok(fibers) => builder.fibers(fibers.parse().expect("SIDESTACK_TEST_FIBERS is a number")),
        Err(_) => builder,
    }
}

/// The module that scripts of these tests have.
pub fn app() -> Module {
    Module::new("app")
        .function("nap", async |seconds: f64| {
            futures_timer(seconds).await;
            Ok(format!("slept {seconds} s"))
        })
        .function("add", |a: i64, b: i64| Ok(a + b))
}

async fn futures_timer(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Where scripts wait, by `gate\wait()`, until the test lets all of them go on.
#[derive(Clone)]
pub struct Gate {
    came: Arc<AtomicUsize>,
    /// Nobody gets anything of it; closing it ends the waiting.
    shut: Arc<Semaphore>,
}

impl Gate {
    pub fn new() -> Gate {
        Gate { came: Arc::default(), shut: Arc::new(Semaphore::new(0)) }
    }

    pub fn module(&self) -> Module {
        let gate = self.clone();
        Module::new("gate").function("wait", async move || {
            gate.came.fetch_add(1, Ordering::Relaxed);
            assert!(gate.shut.acquire().await.is_err());
            Ok(())
        })
    }

    /// Waits until so many have come.
    #[track_caller]
    pub fn wait_for(&self, many: usize) {
        let begun = Instant::now();
        while self.came.load(Ordering::Relaxed) < many {
            assert!(begun.elapsed() < Duration::from_secs(60), "only {} have come", self.came.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn open(&self) {
        self.shut.close();
    }
}

/// Runs a text for what a test looks at.
#[track_caller]
pub fn gives<R: DeserializeOwned + Send + 'static>(engine: &Engine, text: &str) -> R {
    run(engine, text).unwrap_or_else(|error| panic!("{error}\n{error:?}"))
}

/// Runs a text.
pub fn run<R: DeserializeOwned + Send + 'static>(engine: &Engine, text: &str) -> Result<R, Error> {
    block_on(engine.eval(text).deadline(Duration::from_secs(20)))
}

/// KiB that this process holds, each page counted once.
pub fn resident() -> i64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("procfs");
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}
