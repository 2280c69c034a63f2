use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::child::{assert_faulted_after, in_child, say};
use super::*;

fn small(capacity: usize) -> StackConfig {
    StackConfig { size: 64 << 10, capacity, guard: 4096, ..StackConfig::default() }
}

fn protected(capacity: usize) -> StackConfig {
    StackConfig { guard_kind: Some(GuardKind::Protection), ..small(capacity) }
}

fn write(address: usize, value: u64) {
    // SAFETY: the tests pass addresses within stacks that they hold, or want the fault.
    unsafe { ptr::with_exposed_provenance_mut::<u64>(address).write_volatile(value) };
}

fn read(address: usize) -> u64 {
    // SAFETY: as above.
    unsafe { ptr::with_exposed_provenance::<u64>(address).read_volatile() }
}

/// Whether the page at this address is in memory.
fn resident(address: usize) -> bool {
    let mut state = 0;
    let page = ptr::with_exposed_provenance_mut(address & !(memory::page_size() - 1));
    // SAFETY: one byte for the one page asked for.
    assert_eq!(unsafe { libc::mincore(page, 1, &raw mut state) }, 0);
    state & 1 == 1
}

fn trim_all(pool: &mut StackPool) {
    while pool.trim() == Trimmed::More {}
}

#[test]
fn a_stack_is_used_again_last_in_first_out() {
    let mut pool = StackPool::new(small(4)).unwrap();
    let (a, b) = (pool.get().unwrap(), pool.get().unwrap());
    let (a_at, b_at) = (a.base(), b.base());
    pool.put(a);
    pool.put(b);
    assert_eq!(pool.get().unwrap().base(), b_at);
    assert_eq!(pool.get().unwrap().base(), a_at);
    assert_eq!((pool.stats().in_use, pool.stats().made), (2, 2));
}

#[test]
fn when_all_are_in_use_the_error_names_the_setting() {
    let mut pool = StackPool::new(small(3)).unwrap();
    let mut held: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    let error = pool.get().unwrap_err();
    assert_eq!(error.to_string(), "fibers limit of 3 reached (setting: fibers)");
    pool.put(held.pop().unwrap());
    let _ = pool.get().unwrap();
}

#[test]
fn too_large_a_reservation_says_what_it_was_for() {
    let error = StackPool::new(StackConfig { size: 1 << 40, ..small(1 << 20) }).unwrap_err();
    assert!(matches!(error, Error::System { .. }), "{error:?}");
    assert!(error.to_string().contains("address space for fibers' stacks"), "{error}");
}

#[test]
#[should_panic(expected = "the pool that it came from")]
fn a_stack_of_another_pool_is_refused() {
    let (mut one, mut other) = (StackPool::new(small(1)).unwrap(), StackPool::new(small(1)).unwrap());
    other.put(one.get().unwrap());
}

#[test]
fn the_whole_usable_part_can_be_written() {
    for config in [small(20), protected(20)] {
        let mut pool = StackPool::new(config).unwrap();
        let held: Vec<_> = (0..20).map(|_| pool.get().unwrap()).collect();
        for stack in &held {
            (stack.usable_limit()..stack.base()).step_by(8).for_each(|at| write(at, at as u64));
        }
        for stack in &held {
            assert!((stack.usable_limit()..stack.base()).step_by(8).all(|at| read(at) == at as u64));
        }
    }
}

fn fault_below(config: StackConfig, offset: usize) {
    let mut pool = StackPool::new(config).unwrap();
    let stacks: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    write(stacks[1].usable_limit(), 1);
    say(&format!("writing below a stack with {:?}", pool.stats().guard));
    write(stacks[1].usable_limit() - offset, 1);
    say("no fault");
}

#[test]
fn guard_faults() {
    let child = in_child("fiber::pool::tests::guard_faults", || fault_below(small(8), 8));
    if let Some(output) = child {
        assert_faulted_after("writing below a stack with", &output);
        if !String::from_utf8_lossy(&output.stderr).contains("with Marker") {
            say("note: no MADV_GUARD_INSTALL here (Linux before 6.13): both kinds of guard are mprotect");
        }
    }
}

#[test]
fn guard_faults_at_its_far_end() {
    let child = in_child("fiber::pool::tests::guard_faults_at_its_far_end", || fault_below(small(8), 4096));
    if let Some(output) = child {
        assert_faulted_after("writing below a stack", &output);
    }
}

#[test]
fn fallback_guard_faults() {
    let child = in_child("fiber::pool::tests::fallback_guard_faults", || fault_below(protected(8), 8));
    if let Some(output) = child {
        assert_faulted_after("writing below a stack with Protection", &output);
    }
}

#[test]
fn guards_outlive_trimming() {
    let child = in_child("fiber::pool::tests::guards_outlive_trimming", || {
        let mut pool = StackPool::new(StackConfig { keep_warm: 0, ..small(8) }).unwrap();
        let stack = pool.get().unwrap();
        write(stack.usable_limit(), 1);
        pool.put(stack);
        trim_all(&mut pool);
        let stack = pool.get().unwrap();
        assert_eq!(read(stack.usable_limit()), 0);
        say("trimmed");
        write(stack.usable_limit() - 8, 1);
    });
    if let Some(output) = child {
        assert_faulted_after("trimmed", &output);
    }
}

/// A kernel that refuses markers, played by locked memory.
#[test]
fn locked_memory_falls_back_to_protection() {
    let child = in_child("fiber::pool::tests::locked_memory_falls_back_to_protection", || {
        // By number, since the sanitizer makes mlockall do nothing.
        // SAFETY: no memory is touched.
        if unsafe { libc::syscall(libc::SYS_mlockall, libc::MCL_FUTURE) } != 0 {
            return say("skipped: mlockall is not permitted here");
        }
        let mut pool = StackPool::new(small(2)).unwrap();
        assert_eq!(pool.stats().guard, GuardKind::Protection);
        write(pool.get().unwrap().usable_limit(), 1);
        say("fell back");
    });
    if let Some(output) = child {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("fell back") || text.contains("skipped"), "{text}");
        print!("{text}");
    }
}

/// Far more protected stacks than the system has mappings for, over two pools; the rest of the process must not notice.
#[test]
fn fallback_stops_before_the_map_limit() {
    let child = in_child("fiber::pool::tests::fallback_stops_before_the_map_limit", || {
        let most = memory::max_map_count();
        let config = StackConfig { size: 16 << 10, ..protected(most) };
        let mut pools = [StackPool::new(config.clone()).unwrap(), StackPool::new(config).unwrap()];
        for _ in 0..most / 8 {
            let _ = pools[0].get().unwrap();
        }
        let error = loop {
            if let Err(error) = pools[1].get() {
                break error;
            }
        };
        let stacks = pools.iter().map(|pool| pool.stats().made).sum::<usize>();
        assert_eq!(error.to_string(), format!("fibers limit of {stacks} reached (setting: vm.max_map_count)"));
        let free = most - memory::map_count().unwrap();
        assert!((1_900..2_600).contains(&free), "{free} mappings left");
        for _ in 0..1_000 {
            Reservation::new(4096).map(std::mem::forget).unwrap();
        }
        drop(pools);
        let _ = StackPool::new(protected(8)).unwrap().get().unwrap();
        say(&format!("mprotect guards: {stacks} stacks, then {error}"));
    });
    if let Some(output) = child {
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("mprotect guards:"), "{text}");
        print!("{text}");
    }
}

#[test]
fn trim_keeps_the_warm_top_only() {
    let mut pool = StackPool::new(StackConfig { keep_warm: 2, ..small(4) }).unwrap();
    let stacks: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    let ends: Vec<_> = stacks.iter().map(|stack| (stack.usable_limit(), stack.base() - 8)).collect();
    ends.iter().for_each(|&(low, high)| (write(low, 1), write(high, 1)).1);
    stacks.into_iter().for_each(|stack| pool.put(stack));
    assert!(ends.iter().all(|&(low, high)| resident(low) && resident(high)));
    let left = || ends.iter().map(|&(low, high)| (resident(low), resident(high))).collect::<Vec<_>>();
    while pool.trim_below_tops() == Trimmed::More {}
    assert_eq!(left(), [(false, true); 4]);
    trim_all(&mut pool);
    assert_eq!(left(), [(false, false), (false, false), (false, true), (false, true)]);
}

#[test]
fn a_stack_used_after_a_trim_is_trimmed_again() {
    for keep_warm in [0, 1] {
        let mut pool = StackPool::new(StackConfig { keep_warm, ..small(1) }).unwrap();
        for _ in 0..3 {
            let stack = pool.get().unwrap();
            let (low, high) = (stack.usable_limit(), stack.base() - 8);
            write(low, 1);
            write(high, 1);
            pool.put(stack);
            trim_all(&mut pool);
            assert_eq!((resident(low), resident(high)), (false, keep_warm == 1));
        }
    }
}

#[test]
fn putting_back_trims_without_idling() {
    let mut pool = StackPool::new(StackConfig { keep_warm: 0, ..small(10_000) }).unwrap();
    let burst: Vec<_> = (0..10_000).map(|_| pool.get().unwrap()).collect();
    let tops: Vec<_> = burst.iter().map(|stack| stack.base() - 8).collect();
    tops.iter().for_each(|&top| write(top, 1));
    burst.into_iter().for_each(|stack| pool.put(stack));
    for _ in 0..192_000 {
        let stack = pool.get().unwrap();
        write(stack.base() - 8, 1);
        pool.put(stack);
    }
    let left = tops.iter().filter(|&&top| resident(top)).count();
    assert!(left <= 1, "{left} stacks still hold memory");
}

#[test]
fn two_pools_share_no_address() {
    let (mut one, mut other) = (StackPool::new(small(2)).unwrap(), StackPool::new(small(2)).unwrap());
    let mut spans: Vec<_> =
        [one.get(), other.get(), one.get(), other.get()].map(|s| s.map(|s| (s.limit(), s.base())).unwrap()).into();
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
}

#[derive(Debug, Clone)]
enum Step {
    Get,
    Put(prop::sample::Index),
    Lose(prop::sample::Index),
    Trim,
    TrimBelowTops,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Get),
        5 => any::<prop::sample::Index>().prop_map(Step::Put),
        1 => any::<prop::sample::Index>().prop_map(Step::Lose),
        1 => Just(Step::Trim),
        1 => Just(Step::TrimBelowTops),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the order: live stacks are apart from each other, keep what is written at both ends, and the numbers hold.
    #[test]
    fn live_stacks_are_distinct_and_keep_their_contents(
        steps in steps(),
        keep_warm in 0..8_usize,
        kind in prop_oneof![Just(None), Just(Some(GuardKind::Protection))],
    ) {
        let config = StackConfig { size: 32 << 10, keep_warm, guard_kind: kind, ..small(24) };
        let mut pool = StackPool::new(config).unwrap();
        let mut live: Vec<(FiberStack, u64)> = Vec::new();
        let mut lost = 0;
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Get => match pool.get() {
                    Ok(stack) => {
                        write(stack.usable_limit(), number);
                        write(stack.base() - 8, number);
                        live.push((stack, number));
                    }
                    Err(error) => {
                        prop_assert_eq!(live.len() + lost, 24);
                        let full = matches!(error, Error::Limit { which: Limit::Fibers, value: 24, setting: "fibers", .. });
                        prop_assert!(full);
                    }
                },
                Step::Put(index) if !live.is_empty() => pool.put(live.swap_remove(index.index(live.len())).0),
                Step::Lose(index) if !live.is_empty() && lost < 4 => {
                    let _ = live.swap_remove(index.index(live.len()));
                    lost += 1;
                }
                Step::Put(_) | Step::Lose(_) => {}
                Step::Trim => { let _ = pool.trim(); }
                Step::TrimBelowTops => { let _ = pool.trim_below_tops(); }
            }
            prop_assert_eq!(pool.stats().in_use, live.len() + lost);
        }
        let spans: BTreeMap<_, _> = live.iter().map(|(stack, _)| (stack.limit(), stack.base())).collect();
        prop_assert_eq!(spans.len(), live.len());
        prop_assert!(spans.iter().zip(spans.iter().skip(1)).all(|((_, end), (start, _))| end <= start));
        for (stack, number) in &live {
            prop_assert_eq!(stack.base() % 16, 0);
            prop_assert_eq!((read(stack.usable_limit()), read(stack.base() - 8)), (*number, *number));
        }
    }
}
