//! `qsort_r` and `bsearch` with a comparator that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use sidestack::{Call, Cx, Module, Raise};

use super::stage::{Bed, until};

/// How long a comparison waits: long beside its own work, on a busy machine too.
const WAIT: Duration = Duration::from_millis(10);

/// `order.compare(a, b)` after [`WAIT`], and how often it was called.
fn module() -> (Module, Arc<AtomicI64>) {
    let asked = Arc::<AtomicI64>::default();
    let count = asked.clone();
    let compare = async move |cx: Cx, a: i64, b: i64| {
        cx.sleep(WAIT).await;
        count.fetch_add(1, Ordering::Relaxed);
        if a == 13 || b == 13 {
            return Err(Raise::new("unlucky", "13 cannot be compared").into());
        }
        Ok(a.cmp(&b) as i64)
    };
    (Module::new("order").function("compare", compare), asked)
}

/// A different list each, without 13.
fn shuffled(seed: i64) -> Vec<i64> {
    (0..50).map(|i| 100 + (i * 37 + seed * 11) % 50).collect()
}

fn sort(bed: &Bed, items: &[i64]) -> Call<Vec<i64>> {
    bed.script.call("sort", items)
}

#[test]
fn many_sorts_wait_in_their_comparators_at_once() {
    const SORTS: i64 = 20;
    let (module, asked) = module();
    let bed = Bed::new(module);
    let begun = Instant::now();
    let sorts: Vec<_> = (0..SORTS).map(|i| bed.engine.spawn(sort(&bed, &shuffled(i))).expect("started")).collect();
    for sorted in sorts {
        assert_eq!(block_on(sorted).expect("sorted"), (100..150).collect::<Vec<_>>());
    }
    let compared = u32::try_from(asked.load(Ordering::Relaxed)).expect("a few thousand");
    let (took, one_by_one) = (begun.elapsed(), WAIT * compared);
    assert!(took * 2 < one_by_one, "{took:?}, and one by one at least {one_by_one:?}");
    bed.idle();
}

#[test]
fn a_search_asks_as_often_as_it_must() {
    let (module, asked) = module();
    let bed = Bed::new(module);
    let items: Vec<i64> = (0..100).map(|i| 100 + 2 * i).collect();
    let search =
        |value: i64| block_on(bed.script.call::<(Option<i64>, i64)>("search", (value, &items))).expect("found or not");
    for (value, place) in [(100, Some(0)), (150, Some(25)), (298, Some(99)), (151, None), (1, None)] {
        let before = asked.load(Ordering::Relaxed);
        let (found, comparisons) = search(value);
        assert_eq!(found, place, "{value}");
        assert!((1..=7).contains(&comparisons), "{comparisons} of 100 items");
        assert_eq!(asked.load(Ordering::Relaxed) - before, comparisons);
    }
}

#[test]
fn the_hosts_error_passes_through_a_sort() {
    let (module, asked) = module();
    let bed = Bed::new(module);
    let error = block_on(sort(&bed, &[3, 2, 13, 1, 5, 4])).expect_err("13 is among them");
    assert_eq!((error.code(), error.to_string().as_str()), (Some("unlucky"), "13 cannot be compared"));
    // Nobody was asked after that: the sort went on, as it cannot be stopped, with answers that mean nothing.
    let before = asked.load(Ordering::Relaxed);
    assert!(before < 9, "{before}");
    assert_eq!(block_on(sort(&bed, &[2, 3, 1])).expect("sorted"), [1, 2, 3]);
}

#[test]
fn a_sort_that_is_cancelled_frees_what_it_has() {
    let (module, asked) = module();
    let bed = Bed::new(module);
    let dropped = bed.engine.spawn(sort(&bed, &shuffled(1))).expect("started");
    until("it sorts", || asked.load(Ordering::Relaxed) > 3);
    drop(dropped);
    bed.idle();
    let after = asked.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(asked.load(Ordering::Relaxed), after);
}
