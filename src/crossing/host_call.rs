//! One host call, from its start to its return: Ready, Pending or CallGuest.
//!
//! All of this runs on the thread's stack. Host code is run with no reference into the record alive: it may call C that
//! makes a host call of its own.

mod begin;

use std::ffi::c_int;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::task::waker_ref;

pub use self::begin::begin;
pub(super) use self::begin::may_start;
use super::cancel;
use super::fence::{self, Panicked, drop_fenced, fence};
use super::finish;
use super::reply;
use crate::Error;
use crate::abi::{
    SS_CALL_GUEST, SS_CROSS_SUSPEND, SS_ERROR, SS_KILL, SS_NO_FIBER, SS_OK, SS_ON_THREAD, ss_call, ss_value,
};
use crate::call::outcomes::Failure;
use crate::diagnosis::{Backtrace, HostPanic, Parts};
use crate::error::{HostResult, refused};
use crate::host::cx::CallShared;
use crate::host::future::HostFuture;
use crate::host::record::{CallRecord, Context, FiberRecord, Reason, Suspended};
use crate::host::reply::Reply;
use crate::host::timer::Whom;
use crate::signal::snapshot::frames;
use crate::value::Flat;

/// What the upcall's entry does next: it returns a status to C, or suspends the fiber. As a crossing tells it (csrc/way_in.h).
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Step(i64);

impl Step {
    /// Suspend the fiber.
    pub const SUSPEND: Step = Step(SS_CROSS_SUSPEND as i64);
    pub(super) const KILL: Step = Step::give(SS_KILL as c_int);

    /// Return this status to C.
    #[inline]
    pub const fn give(status: c_int) -> Step {
        Step(status as i64)
    }

    /// The status that C gets, unless the fiber is suspended.
    #[inline]
    pub fn given(self) -> Option<c_int> {
        (self != Step::SUSPEND).then_some(self.0 as c_int)
    }

    /// What the crossing returns.
    #[inline]
    pub fn crossed(self) -> i64 {
        self.0
    }
}

/// The interpreter was given up: nothing of the host's works for it any more.
#[cold]
pub(super) unsafe fn given_up(record: *mut FiberRecord, call: *mut ss_call) -> Step {
    // SAFETY: passed on from `begin`.
    unsafe {
        if (*record).grace == Duration::MAX {
            return fail(record, call, Error::InterpreterLost { started: true });
        }
        let _ = cancel::whole(record, Reason::Cancelled);
        (*record).kill();
        Step::KILL
    }
}

/// A host function is over: its outcome goes to the shim.
#[inline(never)]
pub(super) unsafe fn over(record: *mut FiberRecord, call: *mut ss_call, outcome: HostResult<Reply>) -> Step {
    // SAFETY: passed on from `begin`.
    Step::give(unsafe { reply::outcome(&mut *record, call, outcome) })
}

/// A host function gave a future: polls it, and puts the call into the set if it has to wait.
#[inline(never)]
pub(super) unsafe fn pend(
    record: *mut FiberRecord,
    function: u32,
    mut future: Option<HostFuture>,
    shared: Option<Rc<CallShared>>,
    call: *mut ss_call,
) -> Step {
    // SAFETY: as in `begin`.
    unsafe {
        if let Some(shared) = &shared {
            shared.may_call_guest.set(true);
        }
        if let Some(outcome) = poll(record, function, &mut future) {
            return over(record, call, outcome);
        }
        (*record).next_call += 1;
        let id = (*record).next_call;
        let only_waits = shared.as_ref().is_none_or(|shared| !shared.requested());
        let room = (*record).room();
        room.write(CallRecord { id, function, frame: call, future, shared, outcome: None, in_guest: false });
        let calls = &mut (*record).calls;
        calls.set_len(calls.len() + 1);
        (*call).id = id;
        if only_waits
            && (*(*record).thread).nested == 0
            && (*record).cancel.is_none()
            && !(FiberRecord::context(record).local.in_finalizer)()
        {
            // Nearly always; `settle` says the same at length.
            (*record).suspended = Suspended::Call(id);
            return Step::SUSPEND;
        }
        settle(record, id)
    }
}

/// The guest answers a request to call a function of its own.
///
/// # Safety
///
/// As [`begin`].
pub unsafe fn answer(
    record: *mut FiberRecord,
    call: *mut ss_call,
    status: c_int,
    values: *mut ss_value,
    count: u32,
) -> Step {
    // SAFETY: as in `begin`.
    unsafe {
        end_frames_below(record, call, false);
        end(record, call);
        let id = (*call).id;
        let Some(at) = (*record).find(id) else {
            return fail(record, call, Error::Cancelled);
        };
        (*record).at_mut(at).in_guest = false;
        if status as u32 == SS_KILL {
            FiberRecord::context(record).local.module_done();
        }
        cancel::reached(record, id);
        if killed(record) {
            drop_fenced((*record).calls.remove(at));
            return Step::KILL;
        }
        if (*record).at(at).outcome.is_none() {
            let own = (*call).flags != 0;
            let results = results(record, status, values, count, own);
            if let Some(shared) = (*record).at(at).shared.clone() {
                let waker = waker_ref(&(*record).waker);
                if let Err(Panicked(message)) = fence(|| shared.answer(results, &waker)) {
                    tracing::error!(target: "sidestack", %message, "a waker panicked");
                }
            }
            if let Some(at) = (*record).place(at, id) {
                poll_in_place(record, at, id);
            }
        }
        settle(record, id)
    }
}

/// What the guest answered, owned.
unsafe fn results(
    record: *mut FiberRecord,
    status: c_int,
    values: *mut ss_value,
    count: u32,
    own: bool,
) -> Result<Box<Flat>, Error> {
    // SAFETY: passed on from `answer`.
    unsafe {
        match status as u32 {
            SS_OK => {
                let mut flat = crate::host::reply::take();
                match flat.copy_run(values, count, &mut FiberRecord::context(record).local.resolver(own)) {
                    Ok(()) => Ok(flat),
                    Err(e) => Err(Error::Convert { place: "result of a guest call".into(), message: e.to_string() }),
                }
            }
            SS_ERROR => Err(finish::script_error(record, values, count, true)),
            _ => Err(Error::Cancelled),
        }
    }
}

/// The shim has copied what `call` points to.
///
/// # Safety
///
/// As [`begin`].
pub unsafe fn end(record: *mut FiberRecord, call: *mut ss_call) {
    // SAFETY: as in `begin`.
    unsafe {
        if (*call).reply.is_null() {
            return;
        }
        let replies = &mut (*record).replies;
        let found = replies.iter().rposition(|(_, flat)| std::ptr::addr_eq(&raw const **flat, (*call).reply));
        (*call).reply = std::ptr::null_mut();
        (*call).values = std::ptr::null();
        (*call).count = 0;
        if let Some(at) = found {
            let flat = replies.swap_remove(at).1;
            reply::give(&FiberRecord::context(record).local, flat);
        }
    }
}

/// A fiber's waker was used: polls its calls. True if the fiber can go on, with its status left in the record.
///
/// # Safety
///
/// `record` is a live fiber's, on its interpreter thread, and the fiber is not running.
#[must_use]
pub unsafe fn woken(record: *mut FiberRecord) -> bool {
    // SAFETY: the caller's contract; the thread state is the fiber's own thread's.
    unsafe {
        // Host code, below this fiber's host calls, as in their first poll. The bounds stay empty: no frame lies within.
        let thread = (*record).thread;
        (*thread).fiber = record.cast();
        (*thread).stack_base = 0;
        (*thread).place = SS_ON_THREAD as c_int;
        poll_all(record);
        (*thread).place = SS_NO_FIBER as c_int;
        (*thread).fiber = std::ptr::null_mut();
        resumable(record)
    }
}

unsafe fn poll_all(record: *mut FiberRecord) {
    // SAFETY: passed on from `woken`.
    unsafe {
        let activity = &FiberRecord::context(record).local.tenure.activity;
        // Innermost first: what an outer future decides about an inner call comes after the inner one's own news.
        let mut at = (*record).calls.len();
        while at > 0 {
            at -= 1;
            if at >= (*record).calls.len() {
                continue;
            }
            let CallRecord { id, function, .. } = *(*record).at(at);
            let outer = activity.enter(function);
            let polled = poll_in_place(record, at, id);
            activity.leave(outer);
            if polled.is_some_and(|call| {
                call.in_guest && (call.outcome.is_some() || call.shared.as_ref().is_some_and(|s| s.abandoned()))
            }) {
                cancel::down_to(record, id);
            }
        }
    }
}

/// A timer of a fiber was due. True if the fiber waits in a sleep, which is over: it can go on, with its status left in the
/// record. Else [`woken`] finds out whose timer it was. This is the same in short, where no host code is asked.
///
/// # Safety
///
/// As [`woken`].
#[must_use]
#[inline]
pub unsafe fn slept(record: *mut FiberRecord) -> bool {
    // SAFETY: the caller's contract; the frame is alive while the fiber is in its host call.
    unsafe {
        let Suspended::Call(id) = (*record).suspended else { return false };
        let calls = &mut (*record).calls;
        let Some(CallRecord { id: innermost, frame, future: Some(HostFuture::Sleep(sleep)), .. }) = calls.last_mut()
        else {
            return false;
        };
        if *innermost != id || !sleep.has_passed() {
            return false;
        }
        reply::few(*frame, (&raw const (**frame).few).cast(), 0);
        calls.pop();
        (*record).status = SS_OK as c_int;
        (*record).suspended = Suspended::No;
        true
    }
}

/// Whether a suspended fiber has what it waits for; if so it is left in the record and in the shim's frame.
///
/// # Safety
///
/// As [`woken`].
#[must_use]
pub unsafe fn resumable(record: *mut FiberRecord) -> bool {
    // SAFETY: the caller's contract.
    unsafe {
        let Suspended::Call(id) = (*record).suspended else { return false };
        let last = (*record).calls.len().wrapping_sub(1);
        let Some(at) = (*record).place(last, id) else { return false };
        let call = (*record).at_mut(at);
        let status = if let Some(outcome) = call.outcome.take() {
            let frame = call.frame;
            (*record).leave(at);
            reply::outcome(&mut *record, frame, outcome)
        } else {
            if !call.shared.as_ref().is_some_and(|shared| shared.requested()) {
                return false;
            }
            let Some(status) = settle(record, id).given() else { return false };
            status
        };
        (*record).status = status;
        (*record).suspended = Suspended::No;
        true
    }
}

/// Polls a host future, which is in nobody's hands meanwhile. `None`: it goes on; else it is gone.
unsafe fn poll(record: *mut FiberRecord, function: u32, place: &mut Option<HostFuture>) -> Option<HostResult<Reply>> {
    let future = place.as_mut()?;
    if let HostFuture::Sleep(sleep) = future {
        // Needs no fence and no waker.
        // SAFETY: the caller's record.
        let over = sleep.over(|_| Whom::Fiber(unsafe { (*record).key }));
        return over.then(|| {
            *place = None;
            Ok(None)
        });
    }
    // SAFETY: the record, and with it the waker, outlives the poll: it belongs to the fiber whose call this is.
    let (waker, polling) = unsafe { (&(*record).waker, &FiberRecord::context(record).local.polling) };
    let outer = polling.replace(Arc::as_ptr(waker));
    let waker = waker_ref(waker);
    let polled = fence(|| future.poll(&mut TaskContext::from_waker(&waker)));
    polling.set(outer);
    let outcome = match polled {
        Ok(Poll::Pending) => return None,
        Ok(Poll::Ready(outcome)) => fence(|| drop(place.take())).map(|()| outcome),
        Err(panicked) => {
            drop_fenced(place.take());
            Err(panicked)
        }
    };
    // SAFETY: as above.
    Some(outcome.unwrap_or_else(|panicked| unsafe { panic_outcome(record, function, &panicked) }))
}

/// Polls the future of the call `id`, which is in this place of the set, and leaves what came of it there. Returns the call, unless
/// it is gone.
#[inline]
unsafe fn poll_in_place<'a>(record: *mut FiberRecord, at: usize, id: u64) -> Option<&'a mut CallRecord> {
    // SAFETY: passed on from the callers: `record` is a live fiber's. No reference into it lives through the poll.
    unsafe {
        let call = (*record).at_mut(at);
        let function = call.function;
        let mut future = call.future.take();
        if future.is_none() {
            return Some(call);
        }
        let outcome = poll(record, function, &mut future);
        // A cancel or a longjmp cannot end it during its own poll: both happen on this thread, outside of polls.
        let call = (*record).in_place(at, id)?;
        match outcome {
            None => call.future = future,
            outcome => call.outcome = outcome,
        }
        Some(call)
    }
}

/// Decides what follows a poll: the call leaves the set, asks the guest for a call, or waits.
unsafe fn settle(record: *mut FiberRecord, id: u64) -> Step {
    // SAFETY: as in `begin`; a call's frame is alive until the call returns to C.
    unsafe {
        let Some(at) = (*record).find(id) else { unreachable!("it was just put or found there") };
        let call = (*record).at(at).frame;
        if (*record).at(at).outcome.is_some() {
            let mut over = (*record).calls.remove(at);
            let outcome = over.outcome.take().expect("just seen");
            return Step::give(reply::outcome(&mut *record, call, outcome));
        }
        let shared = (*record).at(at).shared.clone();
        let requested = shared.as_ref().is_some_and(|shared| shared.requested());
        if let Some(error) = refusal(record, at, requested) {
            drop_fenced((*record).calls.remove(at));
            return fail(record, call, error);
        }
        if !requested {
            (*record).suspended = Suspended::Call(id);
            return Step::SUSPEND;
        }
        let shared = shared.expect("it made the request");
        let (function, args, by_reference) = shared.take_request().expect("it was requested");
        // The token may go at once: a release travels through the inbox, so the slot outlives this call into the guest.
        let given = function.slot_in(&FiberRecord::context(record).local.inbox).and_then(|slot| {
            (*call).function = slot;
            (*call).flags = u32::from(by_reference);
            reply::values(&mut *record, call, args)
        });
        match given {
            Ok(()) => {
                (*record).at_mut(at).in_guest = true;
                Step::give(SS_CALL_GUEST as c_int)
            }
            Err(error) => {
                let waker = waker_ref(&(*record).waker);
                shared.answer(Err(error), &waker);
                if let Some(at) = (*record).place(at, id) {
                    poll_in_place(record, at, id);
                }
                settle(record, id)
            }
        }
    }
}

/// Why a call may not wait, or call the guest, here and now.
unsafe fn refusal(record: *mut FiberRecord, at: usize, requested: bool) -> Option<Error> {
    // SAFETY: passed on from `settle`.
    unsafe {
        let function = (*record).at(at).function;
        if (*record).cancel.is_some() {
            Some(Error::Cancelled)
        } else if (*(*record).thread).nested != 0 {
            Some(Error::Refused {
                name: refused::ON_THREAD,
                message: format!(
                    "{} cannot wait here: host code called the C code that called it",
                    name(record, function)
                ),
            })
        } else if !requested && (FiberRecord::context(record).local.in_finalizer)() {
            Some(Error::Refused {
                name: refused::IN_FINALIZER,
                message: format!("{} cannot wait in a finalizer", name(record, function)),
            })
        } else {
            None
        }
    }
}

/// Ends the records of frames that were longjmped past: those further in than `call` on the same stack. With `own`, a
/// record at the very same address too: its frame is gone and another call has taken its place.
#[inline]
pub(super) unsafe fn end_frames_below(record: *mut FiberRecord, call: *mut ss_call, own: bool) {
    // SAFETY: `record` is the current fiber's (the caller's contract).
    unsafe {
        if !(*record).calls.is_empty() || !(*record).replies.is_empty() {
            end_dead_frames(record, call, own);
        }
    }
}

#[cold]
unsafe fn end_dead_frames(record: *mut FiberRecord, call: *mut ss_call, own: bool) {
    // SAFETY: passed on from `end_frames_below`.
    unsafe {
        let (low, high) = ((*(*record).thread).stack_limit, (*(*record).thread).stack_base);
        let on_stack = |frame: *mut ss_call| (low..high).contains(&frame.addr());
        if !on_stack(call) {
            return;
        }
        let dead = |frame: *mut ss_call| on_stack(frame) && (frame < call || (own && frame == call));
        while let Some(at) = (*record).calls.iter().rposition(|c| dead(c.frame)) {
            let ended = (*record).calls.remove(at);
            cancel::reached(record, ended.id);
            drop_fenced(ended);
        }
        while let Some(at) = (*record).replies.iter().rposition(|(frame, _)| dead(*frame)) {
            let flat = (*record).replies.swap_remove(at).1;
            reply::give(&FiberRecord::context(record).local, flat);
        }
    }
}

pub(super) unsafe fn killed(record: *mut FiberRecord) -> bool {
    // SAFETY: the caller's record.
    unsafe { (*record).cancel.is_some_and(|cancel| cancel.kill) }
}

#[cold]
pub(super) unsafe fn fail(record: *mut FiberRecord, call: *mut ss_call, error: Error) -> Step {
    // SAFETY: passed on from the caller.
    Step::give(unsafe { reply::error(&mut *record, call, error.into()) })
}

unsafe fn name<'a>(record: *mut FiberRecord, function: u32) -> &'a str {
    // SAFETY: passed on from the caller, who uses the name while the record holds its context.
    unsafe { &FiberRecord::context(record).local.registry }.name(function).unwrap_or_default()
}

#[cold]
pub(super) unsafe fn panic_outcome(record: *mut FiberRecord, function: u32, panicked: &Panicked) -> HostResult<Reply> {
    // SAFETY: passed on from the caller.
    unsafe {
        let Context { local, caller, .. } = FiberRecord::context(record);
        local.inbox.outcomes.count(Failure::HostPanic);
        Err(panic_error(name(record, function), panicked, c_frames(record), caller.id, caller.label.as_deref()))
    }
}

/// The return addresses in the C code of a fiber that does not run now.
unsafe fn c_frames(record: *mut FiberRecord) -> Vec<usize> {
    // SAFETY: passed on from the caller; the thread state is the fiber's own thread's.
    unsafe {
        // In a crossing of the current fiber's, or while it is suspended.
        let current = (*record).suspended == Suspended::No;
        let frame = if current { (*(*record).thread).frame } else { (*record).frame };
        frames(frame, (*record).bounds)
    }
}

/// What a host function's panic is for its caller; it is logged too.
#[cold]
pub(super) fn panic_error(
    name: &str,
    Panicked(message): &Panicked,
    c: Vec<usize>,
    fiber: u64,
    label: Option<&str>,
) -> anyhow::Error {
    tracing::error!(target: "sidestack", fiber, label, function = %name, %message, "a host function panicked");
    let backtrace = Backtrace::new(Parts { rust: fence::panic_frames(), c, ..Parts::default() });
    HostPanic { function: name.into(), message: message.clone(), backtrace }.into()
}
