//! Random calls with random ends: nested, waiting, raising, spinning, cancelled at any moment. Afterwards nothing is left:
//! every host future dropped, every fiber gone, every stack back, and the interpreters still answer.
//!
//! `SIDESTACK_CHAOS=N` runs N rounds (default 6); each round's seed is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sidestack::{Cx, Engine, Error, Function, HostResult, Limit, Lua, Module, Rest, Value};

const SCRIPT: &str = r#"
local ss = require "sidestack"
local app = require "app"
local act

local acts = {
  function(d) app.nap(math.random() * 0.01) end,
  function(d) ss.sleep(math.random() * 0.01) end,
  function(d) app.twice(function() act(d - 1) end) end,
  function(d) pcall(ss.timeout, math.random() * 0.01, function() act(d - 1) ss.sleep(0.02) end) end,
  function(d) local t = {3, 1, 2, 5, 4} table.sort(t, function(a, b) if math.random(4) == 1 then act(d - 1) end return a < b end) end,
  function(d) string.gsub("abc", ".", function() act(d - 1) end) end,
  function(d) coroutine.wrap(function() act(d - 1) coroutine.yield() end)() end,
  function(d) pcall(error, {}) end,
  function(d) local g <close> = setmetatable({}, { __close = function() act(d - 1) end }) act(d - 1) end,
  function(d) ss.spawn(act, d - 1) end,
  function(d) ss.group(function(g) g:spawn(act, d - 1) g:spawn(act, d - 1) act(d - 1) end) end,
  function(d) local ch = ss.channel(1) ss.spawn(function() ch:send({ d }) end) ch:recv() end,
  function(d) local t = {} for i = 1, 2000 do t[i] = { i } end end,
  function(d) local n = os.clock() + math.random() * 0.004 while os.clock() < n do end end,
  function(d) app.fail() end,
  function(d) app.panic() end,
}

function act(depth)
  if depth <= 0 then return end
  for _ = 1, math.random(2) do acts[math.random(#acts)](depth) end
end

return function(seed)
  math.randomseed(seed)
  act(4)
  return seed
end
"#;

/// Counts host futures that are alive.
struct Alive(Arc<AtomicI64>);

impl Alive {
    fn new(count: &Arc<AtomicI64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn engine(alive: &Arc<AtomicI64>) -> Engine {
    let (one, two) = (alive.clone(), alive.clone());
    let app = Module::new("app")
        .function("nap", async move |seconds: f64| {
            let _alive = Alive::new(&one);
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            Ok(())
        })
        .function("twice", async move |mut cx: Cx, f: Function, Rest(args): Rest<Value>| {
            let _alive = Alive::new(&two);
            let args = Rest(args);
            cx.call::<Value>(&f, &args).await?;
            let again = cx.call::<Value>(&f, &args);
            // Drops a live guest call now and then.
            let _ = tokio::time::timeout(Duration::from_millis(3), again).await;
            Ok(())
        })
        .function("fail", || -> HostResult<()> { Err(std::io::Error::other("no").into()) })
        .function("panic", || -> HostResult<()> { panic!("as asked") });
    Engine::builder(Lua::new())
        .threads(2)
        .deadline(Duration::from_millis(400))
        .grace(Duration::from_millis(30))
        .tick(Duration::from_millis(1))
        .module(app)
        .build()
        .expect("an engine")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left() {
    // The script's own panics are asked for; their messages are noise.
    std::panic::set_hook(Box::new(|_| {}));
    let rounds: u64 = std::env::var("SIDESTACK_CHAOS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let alive = Arc::new(AtomicI64::new(0));
    let engine = engine(&alive);
    let script = engine.load_text("chaos", SCRIPT).await.expect("a script");
    let mut ended = [0_u64; 5];
    for round in 0..rounds {
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..400_u64 {
            let seed = round * 1000 + i;
            let call = script.call::<u64>("default", seed);
            let patience = Duration::from_micros(seed.wrapping_mul(7919) % 60_000);
            calls.spawn(async move {
                if i % 3 == 0 { tokio::time::timeout(patience, call).await.ok() } else { Some(call.await) }
            });
        }
        while let Some(outcome) = calls.join_next().await {
            match outcome.expect("no panic leaves the engine") {
                None => ended[0] += 1,
                Some(Ok(_)) => ended[1] += 1,
                Some(Err(Error::Script { .. })) => ended[2] += 1,
                Some(Err(Error::Limit { which: Limit::Deadline, .. })) => ended[3] += 1,
                Some(Err(Error::Cancelled)) => ended[4] += 1,
                Some(Err(other)) => panic!("seed {round}: {other:?}"),
            }
        }
    }
    println!("dropped, ok, error, deadline, cancelled: {ended:?}");
    assert!(ended[0] > 0 && ended[1] > 0 && ended[2] > 0, "the schedule is too tame: {ended:?}");
    let until = Instant::now() + Duration::from_secs(10);
    while (engine.metrics().fibers > 0 || alive.load(Ordering::Relaxed) > 0) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let metrics = engine.metrics();
    assert_eq!((metrics.fibers, metrics.stacks, metrics.queued, metrics.quarantined), (0, 0, 0, 0), "{metrics:?}");
    assert_eq!(alive.load(Ordering::Relaxed), 0, "host futures that were never dropped");
    assert_eq!(script.call::<u64>("default", 1).await.map_err(|e| e.to_string()).unwrap_or(1), 1);
    let last = engine.shutdown(Duration::from_secs(2)).await;
    assert_eq!((last.stuck, last.fibers), (0, 0), "{last:?}");
}
