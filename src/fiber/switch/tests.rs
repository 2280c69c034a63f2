use std::cell::RefCell;
use std::ptr;

use proptest::prelude::*;

use super::super::child::{assert_faulted_after, in_child, say};
use super::super::pool::StackPool;
use super::super::stack::StackConfig;
use super::*;
use crate::sys::valgrind;

unsafe extern "C" {
    fn fegetround() -> i32;
    fn fesetround(mode: i32) -> i32;
    fn fetestexcept(excepts: i32) -> i32;
    fn feraiseexcept(excepts: i32) -> i32;
    fn feclearexcept(excepts: i32) -> i32;
}

/// The four rounding modes of x86's fenv.h.
const ROUNDINGS: [i32; 4] = [0, 0x400, 0x800, 0xc00];
const FE_DIVBYZERO: i32 = 4;

fn pool() -> StackPool {
    StackPool::new(StackConfig { size: 64 << 10, capacity: 64, ..StackConfig::default() }).unwrap()
}

/// What a test's fiber works on.
struct Run {
    link: Link,
    id: usize,
    rounds: usize,
    rounding: i32,
    bad: Cell<u32>,
    log: RefCell<Vec<usize>>,
}

impl Run {
    fn new(id: usize, rounds: usize) -> Box<Run> {
        let rounding = ROUNDINGS[id % 4];
        Box::new(Run { link: Link::new(), id, rounds, rounding, bad: Cell::new(0), log: RefCell::default() })
    }

    fn start(&self, pool: &mut StackPool, entry: unsafe extern "C" fn(*mut c_void)) -> Coroutine {
        let data = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the tests keep the run boxed, and the pool, until its coroutine has ended or is abandoned.
        unsafe { Coroutine::new(pool.get().unwrap(), &self.link, entry, data) }
    }
}

thread_local! {
    static HOST_STACK: Cell<usize> = const { Cell::new(0) };
    // SAFETY: the place outlives the tests, which run to their end on their thread.
    static HOME: RefCell<Home> = RefCell::new(HOST_STACK.with(|place| unsafe { Home::new(place.as_ptr()) }));
}

fn resume(coroutine: &mut Coroutine) -> Resumed {
    HOME.with_borrow_mut(|home| coroutine.resume(home))
}

/// Runs `f` on the thread's stack, as csrc/way_in.h does it.
///
/// # Safety
///
/// Within [`resume`], on the fiber's stack.
unsafe fn on_thread_stack<R, F: FnOnce() -> R>(run: &Run, f: F) -> R {
    unsafe extern "C" fn body<R, F: FnOnce() -> R>(_: *mut c_void, f: usize, out: usize, _: usize, _: usize) -> i64 {
        // SAFETY: both point to the caller's locals, of these types.
        unsafe {
            let f = &mut *ptr::with_exposed_provenance_mut::<Option<F>>(f);
            let out = &mut *ptr::with_exposed_provenance_mut::<Option<R>>(out);
            *out = f.take().map(|f| f());
        }
        7
    }
    let (mut f, mut out) = (Some(f), None);
    let args = [(&raw mut f).expose_provenance(), (&raw mut out).expose_provenance(), 0, 0];
    let place = HOST_STACK.with(|place| place.as_ptr().cast::<c_void>());
    let _ = &run.link;
    // SAFETY: `resume` keeps the place; the body returns normally or aborts.
    #[cfg(not(feature = "sanitizer"))]
    let returned = unsafe { crate::sys::ss_move_to(place, args[0], args[1], 0, 0, body::<R, F>) };
    // SAFETY: as above.
    #[cfg(feature = "sanitizer")]
    let returned = unsafe { move_to(&run.link, place, args, body::<R, F>) };
    assert_eq!(returned, 7);
    out.expect("the body wrote it")
}

/// # Safety
///
/// `data` is the `Run` of the current fiber.
unsafe fn run_of<'a>(data: *mut c_void) -> &'a Run {
    // SAFETY: `Run::start` passed a run that lives on, and shares it only.
    unsafe { &*data.cast::<Run>() }
}

/// Logs each round and suspends after it.
unsafe extern "C" fn count(data: *mut c_void) {
    // SAFETY: started by `Run::start`, on its own stack.
    unsafe {
        let run = run_of(data);
        for round in 0..run.rounds {
            on_thread_stack(run, || run.log.borrow_mut().push(round));
            suspend(&run.link);
        }
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn set_errno(value: i32) {
    // SAFETY: the address is valid for the calling thread.
    unsafe { *libc::__errno_location() = value };
}

fn round_mode() -> i32 {
    // SAFETY: no precondition.
    unsafe { fegetround() }
}

#[test]
fn it_runs_suspends_and_ends() {
    let mut pool = pool();
    let run = Run::new(0, 2);
    let mut coroutine = run.start(&mut pool, count);
    assert_eq!(*run.log.borrow(), Vec::<usize>::new());
    assert_eq!(resume(&mut coroutine), Resumed::Suspended);
    assert_eq!(resume(&mut coroutine), Resumed::Suspended);
    assert_eq!(*run.log.borrow(), [0, 1]);
    assert!(!coroutine.done());
    assert_eq!(resume(&mut coroutine), Resumed::Done);
    assert!(coroutine.done());
    pool.put(coroutine.into_stack());
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
#[should_panic(expected = "cannot be resumed")]
fn an_ended_one_cannot_be_resumed() {
    let mut pool = pool();
    let run = Run::new(0, 0);
    let mut coroutine = run.start(&mut pool, count);
    assert_eq!(resume(&mut coroutine), Resumed::Done);
    let _ = resume(&mut coroutine);
}

#[test]
fn a_link_and_a_stack_serve_one_after_the_other() {
    let mut pool = pool();
    let run = Run::new(0, 1);
    for _ in 0..1_000 {
        let mut coroutine = run.start(&mut pool, count);
        assert_eq!(resume(&mut coroutine), Resumed::Suspended);
        assert_eq!(resume(&mut coroutine), Resumed::Done);
        pool.put(coroutine.into_stack());
    }
    assert_eq!((run.log.borrow().len(), pool.stats().made), (1_000, 1));
}

/// Has its own errno, rounding mode and exception flags, and checks them after each switch.
unsafe extern "C" fn keep_state(data: *mut c_void) {
    // SAFETY: started by `Run::start`, on its own stack.
    unsafe {
        let run = run_of(data);
        // Valgrind does not emulate them.
        let flags_kept = !valgrind::running();
        let flagged = run.id.is_multiple_of(3);
        let check = |good: bool| run.bad.set(run.bad.get() + u32::from(!good));
        check(errno() == 0 && fegetround() == 0);
        fesetround(run.rounding);
        feclearexcept(FE_DIVBYZERO);
        if flagged {
            feraiseexcept(FE_DIVBYZERO);
        }
        for round in 0..run.rounds {
            let errno_here = (run.id * 100 + round + 1) as i32;
            set_errno(errno_here);
            suspend(&run.link);
            check(errno() == errno_here);
            check(fegetround() == run.rounding);
            check(!flags_kept || divided_by_zero() == flagged);
            // Host code, on the thread's stack, has the thread's mode.
            let in_host = on_thread_stack(run, round_mode);
            check(in_host == 0 && fegetround() == run.rounding);
        }
    }
}

fn divided_by_zero() -> bool {
    // SAFETY: no precondition.
    unsafe { fetestexcept(FE_DIVBYZERO) != 0 }
}

fn interleave(count: usize, order: impl IntoIterator<Item = usize>) {
    let mut pool = pool();
    let runs: Vec<_> = (0..count).map(|id| Run::new(id, 6)).collect();
    let mut coroutines: Vec<_> = runs.iter().map(|run| Some(run.start(&mut pool, keep_state))).collect();
    // SAFETY: no precondition.
    unsafe { feclearexcept(FE_DIVBYZERO) };
    for (number, index) in order.into_iter().chain((0..7).flat_map(|_| 0..count)).enumerate() {
        let Some(coroutine) = &mut coroutines[index % count] else { continue };
        set_errno(50_000 + number as i32);
        let resumed = resume(coroutine);
        assert_eq!((errno(), round_mode()), (50_000 + number as i32, 0));
        if resumed == Resumed::Done {
            let ended = coroutines[index % count].take().unwrap();
            pool.put(ended.into_stack());
        }
    }
    assert!(coroutines.iter().all(Option::is_none));
    assert!(runs.iter().all(|run| run.bad.get() == 0), "{:?}", runs.iter().map(|r| r.bad.get()).collect::<Vec<_>>());
    assert_eq!(pool.stats().in_use, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn errno_and_float_state_belong_to_the_fiber(order in prop::collection::vec(0..13_usize, 0..120)) {
        interleave(13, order);
    }

    #[test]
    fn any_order_of_resumes_works(order in prop::collection::vec(0..40_usize, 0..300)) {
        let mut pool = pool();
        let runs: Vec<_> = (0..40).map(|id| Run::new(id, usize::MAX)).collect();
        let mut coroutines: Vec<_> = runs.iter().map(|run| run.start(&mut pool, count)).collect();
        let mut expected = vec![0; 40];
        for index in order {
            prop_assert_eq!(resume(&mut coroutines[index]), Resumed::Suspended);
            expected[index] += 1;
        }
        for (index, coroutine) in coroutines.into_iter().enumerate() {
            prop_assert_eq!(&*runs[index].log.borrow(), &(0..expected[index]).collect::<Vec<_>>());
            // SAFETY: `count` holds nothing on the stack, and its run is not used again.
            pool.put(unsafe { coroutine.abandon() });
        }
        prop_assert_eq!(pool.stats().in_use, 0);
    }
}

#[test]
fn an_abandoned_stack_is_used_again() {
    let mut pool = pool();
    let (never, once) = (Run::new(0, 9), Run::new(1, 9));
    let first = never.start(&mut pool, count);
    let mut second = once.start(&mut pool, count);
    assert_eq!(resume(&mut second), Resumed::Suspended);
    // SAFETY: `count` holds nothing on the stack.
    unsafe {
        pool.put(first.abandon());
        pool.put(second.abandon());
    }
    let run = Run::new(2, 1);
    let mut coroutine = run.start(&mut pool, count);
    assert_eq!((resume(&mut coroutine), resume(&mut coroutine)), (Resumed::Suspended, Resumed::Done));
    pool.put(coroutine.into_stack());
    assert_eq!((pool.stats().in_use, pool.stats().made), (0, 2));
    assert_eq!(*never.log.borrow(), Vec::<usize>::new());
}

#[test]
fn a_dropped_one_only_loses_its_stack() {
    let mut pool = pool();
    let run = Run::new(0, 9);
    {
        let _never_started = run.start(&mut pool, count);
        let mut suspended = run.start(&mut pool, count);
        assert_eq!(resume(&mut suspended), Resumed::Suspended);
    }
    assert_eq!((pool.stats().in_use, run.log.borrow().len()), (2, 1));
}

#[test]
fn on_thread_stack_leaves_the_fibers_stack() {
    unsafe extern "C" fn look(data: *mut c_void) {
        // SAFETY: started by `Run::start`, on its own stack.
        unsafe {
            let run = run_of(data);
            let mut frames = [0_usize; 2];
            frames[0] = ptr::from_ref(&frames).addr();
            frames[1] = on_thread_stack(run, || {
                let local = 0_u8;
                std::hint::black_box(&local) as *const u8 as usize
            });
            run.log.borrow_mut().extend(frames);
        }
    }
    let mut pool = pool();
    let run = Run::new(0, 0);
    let stack = pool.get().unwrap();
    let within = stack.usable_limit()..stack.base();
    pool.put(stack);
    assert_eq!(resume(&mut run.start(&mut pool, look)), Resumed::Done);
    // With the sanitizer, locals may lie on a fake stack.
    if !cfg!(feature = "sanitizer") {
        let frames = run.log.borrow();
        assert!(within.contains(&frames[0]) && !within.contains(&frames[1]), "{within:x?} {frames:x?}");
    }
}

/// What `SWITCH_FRAMES` promises.
#[test]
fn the_host_stack_begins_below_all_frames_of_the_switch() {
    unsafe extern "C" fn look(data: *mut c_void) {
        // SAFETY: started by `Run::start`.
        let run = unsafe { run_of(data) };
        run.log.borrow_mut().extend([HOST_STACK.get(), run.link.host.get()]);
    }
    let mut pool = pool();
    let run = Run::new(0, 0);
    assert_eq!(resume(&mut run.start(&mut pool, look)), Resumed::Done);
    let [host, left] = run.log.borrow()[..] else { panic!("two places") };
    assert!(host < left, "host code would run over {} bytes of the switch", host - left);
    assert!(left - host <= SWITCH_FRAMES, "the two are {} bytes apart", left - host);
}

/// A guest that makes stacks of its own may wait on one of them.
#[test]
fn suspending_from_a_foreign_stack_works() {
    thread_local! { static DATA: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) } }

    extern "C" fn foreign() {
        // SAFETY: `entry` entered this stack while its fiber was current.
        unsafe {
            let run = run_of(DATA.get());
            for round in 0..run.rounds {
                suspend(&run.link);
                on_thread_stack(run, || run.log.borrow_mut().push(round));
            }
        }
    }
    unsafe extern "C" fn entry(data: *mut c_void) {
        // SAFETY: contexts and stack live in this frame, which waits until `foreign` has returned.
        unsafe {
            let run = run_of(data);
            DATA.set(data);
            let (mut back, mut context) = (std::mem::zeroed(), std::mem::zeroed::<libc::ucontext_t>());
            assert_eq!(libc::getcontext(&raw mut context), 0);
            let stack = libc::malloc(256 << 10);
            let valgrinds = valgrind::register_stack(stack.addr(), stack.addr() + (256 << 10));
            context.uc_stack.ss_sp = stack;
            context.uc_stack.ss_size = 256 << 10;
            context.uc_link = &raw mut back;
            libc::makecontext(&raw mut context, foreign, 0);
            assert_eq!(libc::swapcontext(&raw mut back, &raw const context), 0);
            valgrind::deregister_stack(valgrinds);
            libc::free(stack);
            suspend(&run.link);
        }
    }
    if cfg!(feature = "sanitizer") {
        return say("skipped: the sanitizer is told of our switches, not of swapcontext");
    }
    let mut pool = pool();
    let (run, other) = (Run::new(0, 3), Run::new(1, 9));
    let mut coroutine = run.start(&mut pool, entry);
    let mut between = other.start(&mut pool, count);
    for _ in 0..4 {
        assert_eq!(resume(&mut coroutine), Resumed::Suspended);
        assert_eq!(resume(&mut between), Resumed::Suspended);
    }
    assert_eq!(resume(&mut coroutine), Resumed::Done);
    assert_eq!(*run.log.borrow(), [0, 1, 2]);
    pool.put(coroutine.into_stack());
}

#[test]
fn a_panic_on_the_thread_stack_aborts() {
    unsafe extern "C" fn entry(data: *mut c_void) {
        // SAFETY: started by `Run::start`, on its own stack.
        unsafe { on_thread_stack(run_of(data), || panic!("on purpose")) }
    }
    let child = in_child("fiber::switch::tests::a_panic_on_the_thread_stack_aborts", || {
        let mut pool = pool();
        let run = Run::new(0, 0);
        let _ = resume(&mut run.start(&mut pool, entry));
        say("still here");
    });
    if let Some(output) = child {
        use std::os::unix::process::ExitStatusExt;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("on purpose") && !text.contains("still here"), "{text}");
        assert!(output.status.signal() == Some(libc::SIGABRT) || cfg!(feature = "sanitizer"), "{text}");
    }
}

#[test]
fn running_off_the_stack_faults() {
    #[inline(never)]
    fn deeper(depth: u64) -> u64 {
        let frame = std::hint::black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + std::hint::black_box(&frame)[7] }
    }
    unsafe extern "C" fn entry(_: *mut c_void) {
        say("going down");
        std::hint::black_box(deeper(0));
    }
    let child = in_child("fiber::switch::tests::running_off_the_stack_faults", || {
        let mut pool = pool();
        let _neighbours = [pool.get().unwrap(), pool.get().unwrap()];
        let run = Run::new(0, 0);
        let _ = resume(&mut run.start(&mut pool, entry));
    });
    if let Some(output) = child {
        assert_faulted_after("going down", &output);
    }
}
