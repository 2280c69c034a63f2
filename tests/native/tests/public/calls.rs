//! Calls, values, errors, callbacks, cancels (scenarios C1, C3, C5, E2, E3, E5, F4).

use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::FutureExt;
use sidestack::{Error, FiberInfo, Language, Limit, Value};

use super::stage::{Bed, Original, until};

const OK: i64 = 0;
const ERROR: i64 = 1;
const CANCELLED: i64 = 2;
const REFUSED: i64 = 3;
const STALE: i64 = 4;
const NOT_FOUND: i64 = 8;

#[test]
fn values_pass_both_ways() {
    let bed = Bed::new();
    let args = (1, -2.5, true, "text", vec![Value::from(3), Value::from("x")], Value::from([("k", 7)]));
    let back: (i64, f64, bool, String, Value, Value) = bed.call("echo", args).expect("an echo");
    assert_eq!((back.0, back.1, back.2, back.3.as_str()), (1, -2.5, true, "text"));
    assert_eq!(back.4, Value::from(vec![Value::from(3), Value::from("x")]));
    assert_eq!(back.5, Value::from([("k", 7)]));
    let (list, map): (Value, Value) = bed.call("compound", ()).expect("C's own");
    assert_eq!(list, Value::from(vec![Value::from(1), Value::from("two")]));
    assert_eq!(map.get("key").and_then(|list| list.at(0)).and_then(Value::as_bytes), Some(&b"\0"[..]));
    assert!(bed.call::<bool>("stack", ()).expect("within its stack"));
}

#[test]
fn a_leaf_is_called_like_any_function() {
    let bed = Bed::new();
    assert_eq!(bed.call::<i64>("call", ("t.add", 20, 22)).expect("a sum"), 42);
    assert_eq!(bed.call::<i64>("call", ("t.add", 20, 22.0)).ok(), bed.call::<i64>("call", ("t.ready", 41.0)).ok());
    assert!(bed.call::<i64>("call", ("t.add", 20)).is_err());
}

#[test]
fn functions_of_scalars() {
    let bed = Bed::new();
    assert_eq!(bed.call::<i64>("add", (1_i64 << 40, -3, 200)).expect("a sum"), (1 << 40) + 197);
    assert_eq!(bed.call::<f64>("mean", (1, 2.5)).expect("a mean"), 1.75);
    assert!(bed.call::<bool>("not", false).expect("true"));
    bed.call::<()>("nothing", ()).expect("nothing");
    assert_eq!(bed.call::<f64>("large", ()).expect("a float"), u64::MAX as f64);
    let eight = (1, 2, 3, 4, 5, 6, 7, 8.5);
    assert_eq!(bed.call::<i64>("eight", eight).expect("also those on the stack"), 1 + 4 + 9 + 16 + 25 + 36 + 49 + 68);
    assert_eq!(bed.call::<String>("greet", "you").expect("text"), "hi you");
    assert_eq!(bed.call::<Option<String>>("greet", ()).expect("nil"), None);
    for (name, args, told) in [
        ("add", Value::from("x"), "add, argument 1: "),
        ("greet", Value::from("a\0b"), "greet, argument 1: text for C cannot hold a NUL"),
        ("nothing", Value::from(1), "nothing, it takes 0 arguments, not 1"),
    ] {
        let error = bed.call::<()>(name, args).expect_err("a conversion");
        assert_eq!(error.code(), Some("convert"), "{error:?}");
        assert!(error.to_string().starts_with(told), "{error}");
    }
    let error = bed.call::<()>("add", (1, 2, 300)).expect_err("too large for a byte");
    assert!(error.to_string().starts_with("add, argument 3: "), "{error}");
}

#[test]
fn errors_keep_code_message_and_original() {
    let bed = Bed::new();
    let failure = |name: &str| bed.call::<(i64, String, String)>("failure", (name, 1)).expect("told as a result");
    assert_eq!(failure("t.fails"), (ERROR, "a_code".into(), "a message".into()));
    assert_eq!(failure("t.original"), (ERROR, String::new(), "original 1".into()));
    assert_eq!(failure("t.missing").0, NOT_FOUND);
    assert_eq!(failure("t.ready").0, OK);
    let (status, code, message) = failure("t.panics");
    assert_eq!((status, code.as_str()), (ERROR, "panic"));
    assert!(message.contains("a panic in t.panics"), "{message}");
    // Passed on.
    let error = bed.call::<i64>("call", ("t.fails", 1)).expect_err("the host's error");
    assert_eq!((error.code(), error.to_string().as_str()), (Some("a_code"), "a message"));
    let error = bed.call::<i64>("call", ("t.original", 7)).expect_err("the host's error");
    assert_eq!(error.host::<Original>(), Some(&Original(7)));
    // Its own.
    let error = bed.call::<i64>("fail", ("mine", "by C")).expect_err("C's error");
    assert_eq!((error.code(), error.to_string().as_str()), (Some("mine"), "by C"));
    let error = bed.call::<i64>("fail", ()).expect_err("C's error");
    assert_eq!(error.to_string(), "a C function failed and set no error");
    let error = bed.call::<i64>("no_such", ()).expect_err("no function");
    assert_eq!(error.code(), Some("not_found"), "{error:?}");
}

#[test]
fn a_call_is_a_future() {
    let bed = Bed::new();
    let mut call = bed.script.call::<i64>("call", ("t.block", 1));
    assert!((&mut call).now_or_never().is_none(), "pending at the first suspension");
    until("it waits", || bed.shared.waiting(1) == 1);
    assert!((&mut call).now_or_never().is_none());
    bed.shared.open(1);
    assert_eq!(block_on(call).expect("resolved"), 10);
    let dropped = bed.engine.spawn(bed.script.call::<i64>("call", ("t.block", 2))).expect("started");
    until("it waits", || bed.shared.waiting(2) == 1);
    drop(dropped);
    bed.idle();
    assert_eq!(bed.shared.live(), 0, "dropping it cancels the call");
}

#[test]
fn cancelled_c_is_told_each_time_and_what_is_ready_works() {
    let bed = Bed::with(sidestack_test_native::public::native(), |builder| {
        builder.threads(1).grace(Duration::from_millis(1))
    });
    let call = bed.engine.spawn(bed.script.call::<i64>("stubborn", ())).expect("started");
    until("it sleeps", || block_on(bed.engine.fibers()).iter().any(|fiber| fiber.waits_for.is_some()));
    drop(call);
    bed.idle();
    assert_eq!(bed.shared.notes(), [1, 2, 3]);
    assert_eq!(bed.shared.live(), 0);
}

#[test]
fn a_loop_that_polls_ends_at_its_deadline_and_when_it_is_cancelled() {
    let bed = Bed::new();
    let begun = Instant::now();
    let error = block_on(bed.script.call::<()>("spin", ()).deadline(Duration::from_millis(500))).expect_err("too long");
    assert!(matches!(error, Error::Limit { which: Limit::Deadline, value: 500, .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(bed.shared.notes(), [-1, 100]);
    let call = bed.engine.spawn(bed.script.call::<()>("spin", ())).expect("started");
    until("it spins", || bed.shared.notes().len() == 3);
    // Others have their turns meanwhile.
    assert_eq!(bed.call::<i64>("call", ("t.wait_and_add", 1)).expect("a value"), 2);
    drop(call);
    bed.idle();
    assert_eq!(bed.shared.notes(), [-1, 100, -1, 200]);
    assert_eq!(bed.call::<i64>("yields", 1000).expect("turns"), 1000);
}

#[test]
fn the_c_stack_of_a_fiber_is_told_also_while_it_hangs() {
    let bed = Bed::new();
    let has = |function: &str| {
        let found = block_on(bed.engine.fibers_with_stacks());
        let in_it = |fiber: &FiberInfo| fiber.backtrace.of(Language::C).any(|frame| frame.function == function);
        found.iter().find(|fiber| in_it(fiber)).map(|fiber| fiber.held.is_some())
    };
    // One that waits, one whose time slice is over, and one that neither calls nor polls.
    let waits = bed.engine.spawn(bed.script.call::<i64>("call", ("t.block", 1))).expect("started");
    until("it waits", || has("public_call") == Some(false));
    let spins = bed.engine.spawn(bed.script.call::<()>("spin", ())).expect("started");
    until("it spins", || has("public_spin") == Some(false));
    drop(spins);
    let hangs = bed.engine.spawn(bed.script.call::<i64>("busy", 3000)).expect("started");
    until("it hangs", || has("public_busy") == Some(true));
    assert_eq!(block_on(hangs).expect("it ends"), 3000);
    drop(waits);
    bed.idle();
}

#[test]
fn shutdown_ends_loops_that_poll_and_waits() {
    let bed = Bed::new();
    let spin = bed.engine.spawn(bed.script.call::<()>("spin", ())).expect("started");
    let wait = bed.engine.spawn(bed.script.call::<i64>("call", ("t.block", 1))).expect("started");
    until("both run", || bed.shared.notes() == [-1] && bed.shared.waiting(1) == 1);
    let metrics = block_on(bed.engine.shutdown(Duration::from_millis(20)));
    assert_eq!((metrics.stuck, metrics.fibers), (0, 0));
    assert!(matches!(block_on(spin), Err(Error::Cancelled)));
    assert!(matches!(block_on(wait), Err(Error::Cancelled)));
}

/// It takes as long as it takes. A short one nobody notices; the caller of a long one is told at its deadline all the same, and a
/// shutdown does not wait for it.
#[test]
fn a_loop_that_asks_nobody_cannot_be_stopped() {
    let bed = Bed::new();
    let begun = Instant::now();
    let short = block_on(bed.script.call::<i64>("busy", 40).deadline(Duration::from_millis(20)));
    // On a busy machine it may have been a long one, whose thread had no processor.
    if begun.elapsed() < Duration::from_millis(100) || short.is_ok() {
        assert_eq!(short.expect("nobody looked at the deadline"), 40);
    }
    let begun = Instant::now();
    let long = bed.script.call::<i64>("busy", 20_000).deadline(Duration::from_millis(20));
    let told = block_on(long).expect_err("the deadline has passed");
    assert!(matches!(told, Error::Limit { which: Limit::Deadline, .. }), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // It is at it still.
    let begun = Instant::now();
    assert_eq!(block_on(bed.engine.shutdown(Duration::from_millis(10))).stuck, 1);
    assert!(begun.elapsed() < Duration::from_secs(8));
}

/// The host function that called the callback gave up: the callback is told, and the fiber goes on.
#[test]
fn a_callback_is_cancelled_by_itself() {
    let bed = Bed::new();
    let told = bed.call::<(i64, i64, String, i64)>("timeout", ()).expect("told");
    assert_eq!(told, (CANCELLED, ERROR, "timeout".into(), OK));
}

#[test]
fn ten_thousand_waits_are_cancelled_without_a_trace() {
    let bed = Bed::new();
    for _ in 0..2 {
        let calls: Vec<_> = (0..10_000)
            .map(|_| bed.engine.spawn(bed.script.call::<i64>("call", ("t.block", 1))).expect("started"))
            .collect();
        until("all wait", || bed.shared.live() == 10_000);
        drop(calls);
        bed.idle();
        assert_eq!(bed.shared.live(), 0);
        until("the stacks are back", || bed.engine.metrics().stacks == 0);
    }
}

#[test]
fn callbacks_on_this_fiber_on_others_and_after_their_release() {
    let bed = Bed::new();
    for how in ["t.apply", "t.apply_apart"] {
        assert_eq!(bed.call::<(i64, i64)>("callback", (how, 5)).expect("a sum"), (20, 5), "{how}");
    }
    assert_eq!(bed.call::<i64>("keep", 0).expect("its own call works"), OK);
    let kept = bed.shared.kept.lock().expect("not poisoned").pop().expect("it was kept");
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let kept = kept.clone();
            std::thread::spawn(move || block_on(kept.call::<i64>(())).expect("from any thread"))
        })
        .collect();
    let mut numbers: Vec<_> = calls.into_iter().map(|call| call.join().expect("no panic")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=21).collect::<Vec<_>>());
    assert_eq!(bed.call::<i64>("keep", 1).expect("its own call is told"), STALE);
    assert_eq!(bed.call::<i64>("kept_destroyed", ()).expect("a count"), 1);
    let released = bed.shared.kept.lock().expect("not poisoned").pop().expect("it was kept");
    let error = block_on(released.call::<i64>(())).expect_err("released");
    assert_eq!(error.code(), Some("released_callback"), "{error:?}");
    drop((kept, released));
    assert_eq!(bed.call::<i64>("kept_destroyed", ()).expect("the other one is C's own"), 1);
    assert_eq!(bed.call::<i64>("cycles", 1_000_000).expect("cycles"), 0, "the table is as large as it was");
}

#[test]
fn guest_and_host_nest_deep() {
    let bed = Bed::with(sidestack_test_native::public::native(), |builder| builder.threads(1).stack(2 << 20));
    assert_eq!(bed.call::<i64>("nest", 50).expect("50 levels"), 50);
    assert_eq!(bed.call::<i64>("nest", 200).expect("200 levels"), 200);
    // A panic at the bottom, 200 levels deep: each C function on the way gets it as an error and passes it on.
    let error = bed.call::<i64>("nest", 1200).expect_err("a panic");
    assert_eq!(error.code(), Some("panic"), "{error:?}");
    assert!(error.to_string().ends_with("<1198 <1199 <1200"), "{error}");
    assert_eq!(bed.call::<i64>("nest", 3).expect("usable afterwards"), 3);
}

#[test]
fn a_jump_out_of_a_callback_ends_the_host_call() {
    let bed = Bed::new();
    let call = bed.engine.spawn(bed.script.call::<i64>("jump", ())).expect("started");
    until("it waits", || bed.shared.waiting(5) == 1);
    assert_eq!(bed.shared.live(), 1, "the future that was jumped past is dropped, the other one waits");
    bed.shared.open(5);
    assert_eq!(block_on(call).expect("the later wait"), 50);
    assert_eq!(bed.shared.live(), 0);
}

#[test]
fn in_a_signal_handler_the_host_is_refused() {
    let bed = Bed::new();
    for _ in 0..3 {
        let told = bed.call::<(i64, String)>("signal", ()).expect("the host works before and after");
        assert_eq!(told, (REFUSED, "in_signal_handler".into()));
    }
}
