//! Deferred signals on real fibers: the guest's handler never runs while host code does, and only for the fiber that is current.
//! A test binary of its own: signal handlers are the process's.

use sidestack::{Cx, Engine, Module, Native};
use sidestack_test_native::engine_storm::{self, GUEST};

#[test]
fn a_guests_timers_never_hit_host_code() {
    const FIBERS: i64 = 16;
    const CROSSINGS: i64 = 40_000;
    let host = Module::new("storm")
        .function("ready", |i: i64| {
            engine_storm::in_host(true);
            let mut spin = i;
            for _ in 0..(i % 97) {
                spin = std::hint::black_box(spin.wrapping_mul(31));
            }
            engine_storm::in_host(false);
            Ok(i)
        })
        .function("waiting", async |cx: Cx, i: i64| {
            engine_storm::in_host(true);
            engine_storm::in_host(false);
            cx.sleep(std::time::Duration::from_micros(200)).await;
            Ok(i)
        });
    // SAFETY: `engine_storm` keeps to csrc/native.h.
    let guest = unsafe { Native::new().function("storm", Some(GUEST)) };
    let engine = Engine::builder(guest).threads(2).module(host).build().expect("an engine");
    let script = futures_executor::block_on(engine.load_text("native", "")).expect("a script");
    // How often a timer gets through while other things run on the machine varies: again, until it was often enough.
    let mut rounds = 0;
    let [runs, violations, strangers] = loop {
        let calls = (0..FIBERS).map(|number| script.call::<i64>("storm", (number, CROSSINGS)));
        let done = futures_executor::block_on(futures_util::future::join_all(calls));
        for (number, outcome) in done.into_iter().enumerate() {
            assert_eq!(outcome.expect("a fiber's storm"), number as i64);
        }
        rounds += 1;
        let counts = engine_storm::counts();
        if counts[0] > 500 || rounds == 30 {
            break counts;
        }
    };
    println!("{runs} handler runs over {} crossings", FIBERS * CROSSINGS * rounds);
    assert!(runs > 100, "the timers hardly fired: {runs}");
    assert_eq!((violations, strangers), (0, 0));
}
