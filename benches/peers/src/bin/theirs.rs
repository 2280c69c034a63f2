//! The others' side of the comparison. It speaks as `benches/guest/src/bin/ours.rs` does, and its cases have the names of
//! ours.

use std::future::Future;
use std::io::{BufRead, Write};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use mlua::{Function, Lua, Table};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

#[path = "../../../guest/src/both.rs"]
mod both;

use both::{now, resident, wait_once};

/// The same as ours.
const SCRIPT: &str = include_str!("../../../guest/src/loops.lua");

const FIBERS: usize = 10_000;

struct Peers {
    exports: Table,
    runtime: Runtime,
    _lua: Lua,
}

async fn naps(n: u64) {
    for _ in 0..n {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Peers {
    fn new() -> mlua::Result<Peers> {
        let lua = Lua::new();
        let bench = lua.create_table()?;
        bench.set("now", lua.create_function(|_, ()| Ok(now()))?)?;
        bench.set("nothing", lua.create_function(|_, ()| Ok(()))?)?;
        bench.set("add", lua.create_function(|_, (a, b): (i64, i64)| Ok(a + b))?)?;
        bench.set(
            "wait",
            lua.create_async_function(async |_, ()| {
                wait_once().await;
                Ok(())
            })?,
        )?;
        bench.set(
            "sleep",
            lua.create_async_function(async |_, seconds: f64| {
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
                Ok(())
            })?,
        )?;
        bench.set(
            "forever",
            lua.create_async_function(async |_, ()| {
                std::future::pending::<()>().await;
                Ok(())
            })?,
        )?;
        let exports = lua.load(SCRIPT).call(bench)?;
        let runtime = Builder::new_current_thread().enable_time().build()?;
        Ok(Peers { exports, runtime, _lua: lua })
    }

    fn function(&self, name: &str) -> mlua::Result<Function> {
        self.exports.get(name)
    }

    fn inside(&self, name: &str, n: u64) -> mlua::Result<u128> {
        let time: i64 = self.runtime.block_on(self.function(name)?.call_async(n))?;
        Ok(time.unsigned_abs().into())
    }

    fn run(&self, case: &str, n: u64) -> mlua::Result<u128> {
        let begun = match case {
            "lua host call" => return self.function("nothing")?.call::<i64>(n).map(|time| time.unsigned_abs().into()),
            "lua host call, arguments" => {
                return self.function("add")?.call::<i64>(n).map(|time| time.unsigned_abs().into());
            }
            "lua awaited call" => return self.inside("wait", n),
            "memory" => return self.memory(usize::try_from(n).expect("a small number")),
            "lua new call" => {
                let empty = self.function("empty")?;
                let begun = Instant::now();
                for _ in 0..n {
                    empty.call::<()>(())?;
                }
                begun
            }
            "lua new call, async" => {
                let empty = self.function("empty")?;
                self.runtime.block_on(async {
                    let begun = Instant::now();
                    for _ in 0..n {
                        empty.call_async::<()>(()).await?;
                    }
                    Ok::<_, mlua::Error>(begun)
                })?
            }
            "sleeps" => {
                let function = self.function("naps")?;
                let begun = Instant::now();
                let tasks = LocalSet::new();
                let calls: Vec<_> = (0..FIBERS).map(|_| tasks.spawn_local(function.call_async::<()>(n))).collect();
                self.runtime.block_on(tasks);
                for call in calls {
                    self.runtime.block_on(call).expect("sleeps")?;
                }
                begun
            }
            "sleeps, tokio" => {
                let begun = Instant::now();
                self.runtime.block_on(async {
                    let tasks: Vec<_> = (0..FIBERS).map(|_| tokio::spawn(naps(n))).collect();
                    for task in tasks {
                        task.await.expect("sleeps");
                    }
                });
                begun
            }
            _ => panic!("no case {case:?}"),
        };
        Ok(begun.elapsed().as_nanos())
    }

    /// Bytes that `n` suspended coroutines take.
    fn memory(&self, n: usize) -> mlua::Result<u128> {
        let function = self.function("forever")?;
        let mut task = Context::from_waker(Waker::noop());
        let before = resident();
        let mut calls: Vec<_> = (0..n).map(|_| Box::pin(function.call_async::<()>(()))).collect();
        for call in &mut calls {
            assert!(call.as_mut().poll(&mut task).is_pending(), "it waits for ever");
        }
        Ok(resident() - before)
    }
}

fn main() -> mlua::Result<()> {
    let peers = Peers::new()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [case, n] = &arguments[..] {
        println!("{}", peers.run(case, n.parse().expect("a number"))?);
        return Ok(());
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (case, n) = line.split_once('\t').expect("a case and a number");
        println!("{}", peers.run(case, n.parse().expect("a number"))?);
        std::io::stdout().flush()?;
    }
    Ok(())
}
