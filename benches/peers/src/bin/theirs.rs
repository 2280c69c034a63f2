//! The others' side of the comparison. It speaks as `benches/guest/src/bin/ours.rs` does, and its cases have the names of
//! ours.

use std::future::Future;
use std::io::{BufRead, Write};
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mlua::{Function, Lua, Table};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// The same as ours (`benches/guest/src/lua.rs`).
const SCRIPT: &str = "
local bench = ...
local now = bench.now

local function timed(f)
  return function(n)
    f(64)
    local begun = now()
    f(n)
    return now() - begun
  end
end

local nothing, add, wait, sleep = bench.nothing, bench.add, bench.wait, bench.sleep
return {
  nothing = timed(function(n) for _ = 1, n do nothing() end end),
  add = timed(function(n) for i = 1, n do add(i, 1) end end),
  wait = timed(function(n) for _ = 1, n do wait() end end),
  empty = function() end,
  naps = function(n) for _ = 1, n do sleep() end end,
  forever = bench.forever,
}";

const FIBERS: usize = 10_000;

struct Peers {
    exports: Table,
    runtime: Runtime,
    _lua: Lua,
}

fn now() -> i64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    i64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).expect("a short run")
}

async fn wait_once() {
    let mut first = true;
    std::future::poll_fn(|task| {
        if std::mem::take(&mut first) {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await
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
            lua.create_async_function(async |_, ()| {
                tokio::time::sleep(Duration::from_millis(1)).await;
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

/// Resident bytes of this process.
fn resident() -> u128 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = text.lines().find(|line| line.starts_with("Rss:")).expect("it has an Rss");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u128>().ok()).expect("in KiB");
    kib * 1024
}
