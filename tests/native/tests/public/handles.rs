//! Handles (scenario E1).

use futures_executor::block_on;
use sidestack::Object;
use sidestack_test_native::public::native;

use super::child;
use super::stage::{Bed, Counted, Thing, until};

const OK: i64 = 0;
const STALE: i64 = 4;
const WRONG_OWNER: i64 = 7;

#[test]
fn each_misuse_has_its_own_error() {
    let bed = Bed::new();
    let before = bed.call::<i64>("destroyed", ()).expect("a count");
    bed.call::<i64>("misuse", Object::<Thing>::new(Thing)).expect("all as expected");
    assert!(bed.call::<i64>("destroyed", ()).expect("a count") >= before + 2, "the destructor ran");
}

#[test]
fn a_handle_lives_until_it_is_released_or_its_interpreter_closes() {
    let bed = Bed::new();
    let handle = bed.call::<i64>("leave", ()).expect("a handle");
    assert_eq!(bed.call::<(i64, String)>("use", handle).expect("told"), (OK, String::new()), "another fiber uses it");
    assert_eq!(bed.call::<i64>("release", handle).expect("told"), OK);
    assert_eq!(bed.call::<(i64, String)>("use", handle).expect("told"), (STALE, "stale".into()));
    let other = Bed::new();
    let before = other.call::<i64>("destroyed", ()).expect("a count");
    for _ in 0..100 {
        bed.call::<i64>("leave", ()).expect("a handle");
    }
    let metrics = block_on(bed.engine.shutdown(std::time::Duration::from_secs(5)));
    assert_eq!((metrics.stuck, metrics.leaked_objects), (0, 0));
    assert!(other.call::<i64>("destroyed", ()).expect("a count") >= before + 100);
}

#[test]
fn objects_of_results_and_arguments_live_as_long_as_c_says() {
    let bed = Bed::new();
    // The caller has its result a moment before the fiber has ended.
    let gone = || until("the object is gone", || bed.shared.live() == 0);
    const FREE: i64 = 0;
    const KEEP: i64 = 1;
    const RETURN: i64 = 2;
    const ARGUMENT: i64 = 3;
    for how in [FREE, KEEP] {
        bed.call::<()>("object", how).expect("as it should");
        gone();
    }
    let returned = bed.call::<Object<Counted>>("object", RETURN).expect("an object");
    assert_eq!(bed.shared.live(), 1);
    drop(returned);
    gone();
    let argument = Object::<Counted>::new(bed.shared.counted());
    let handle = bed.call::<i64>("object", (ARGUMENT, argument)).expect("its handle");
    assert_eq!(bed.shared.live(), 1, "C keeps it after the call");
    assert_eq!(bed.call::<i64>("release", handle).expect("told"), OK);
    gone();
    // An argument that is not kept is gone with the call.
    bed.call::<()>("nothing_of", Object::<Counted>::new(bed.shared.counted())).expect_err("no such function");
    gone();
}

/// A table on each of 32 threads, 10⁷ operations in all (times `SIDESTACK_LONG`).
#[test]
fn tables_on_many_threads() {
    const THREADS: usize = 32;
    let bed = Bed::with(native(), |builder| builder.threads(THREADS));
    // One handle of another owner than most.
    let foreign: i64 = bed.call("leave", ()).expect("a handle");
    let each = 10_000_000 * child::long() as usize / THREADS;
    let storms: Vec<_> = (0..THREADS)
        .map(|_| {
            let script = bed.script.clone();
            // Its own handle is no mistake: an owner that no interpreter of this engine has.
            let stranger = foreign ^ (512 << 54);
            bed.engine.spawn(script.call::<usize>("handle_storm", (each, stranger))).expect("started")
        })
        .collect();
    let done: usize = storms.into_iter().map(|storm| block_on(storm).expect("no surprise")).sum();
    assert!(done >= each * THREADS, "{done}");
    // From its own thread, sooner or later, and from the thread of another interpreter: wrong owner.
    let (mut own, mut other) = (0, 0);
    for _ in 0..100 * THREADS {
        match bed.call::<(i64, String)>("use", foreign).expect("told") {
            (OK, _) => own += 1,
            told => {
                assert_eq!(told, (WRONG_OWNER, "wrong_owner".into()));
                other += 1;
            }
        }
        if own > 0 && other > 0 {
            return;
        }
    }
    panic!("{own} uses by its owner, {other} by others");
}
