//! One turn of one fiber: the switch into it, and what comes of it.

use std::io;
use std::time::Instant;

use super::fiber::{Enqueue, State};
use super::{Next, Worker, lost};
use crate::abi::{SS_INTERRUPT_CANCEL, SS_NO_FIBER, SS_ON_FIBER};
use crate::call::tenure::store_deadline;
use crate::call::wake::{FiberKey, Way};
use crate::crossing::fence::{Panicked, fence};
use crate::crossing::{cancel, host_call};
use crate::fiber::Resumed;
use crate::guest::Interpreter;
use crate::host::record::{FiberRecord, LimitAt, Reason, Suspended, Waits};
use crate::host::timer::Whom;

impl<I: Interpreter> Worker<I> {
    /// [`Worker::turn`] for those who are not the loop.
    #[inline(never)]
    pub(super) fn resume(&mut self, index: u32) {
        self.turn(index);
    }

    /// Gives the thread to a fiber until it suspends or ends.
    // In the loop itself: each return after a switch is one that the CPU predicts wrong.
    #[inline(always)]
    pub(super) fn turn(&mut self, index: u32) {
        let Some(fiber) = self.fibers[index as usize].as_deref_mut() else { return };
        // The place in the ready queue may be that of a fiber that was ended there.
        if fiber.state != State::Ready {
            return;
        }
        let fiber = std::ptr::from_mut(fiber);
        self.quiet.looked = false;
        if let Err(error) = self.attached.arm(self.tick) {
            no_ticks(&error);
        }
        // SAFETY: the box stays where it is until `end`; while the fiber runs, upcalls reach its record and nothing else
        // of it, through raw pointers, and this function does not touch it. The thread state is this thread's own.
        let (record, resumed) = unsafe {
            let thread = self.thread;
            let record = &raw mut (*fiber).record;
            (*thread).fiber = record.cast();
            (*thread).fiber_id = (*record).key.id;
            ((*thread).stack_base, (*thread).stack_limit) = (*record).bounds;
            (*thread).epoch += 1;
            (*thread).interrupt = match (*record).cancel {
                Some(cancel) if cancel.kill || !cancel.delivered => SS_INTERRUPT_CANCEL as i32,
                _ => 0,
            };
            if let Some(cpu) = &mut (*record).cpu {
                cpu.begin();
            }
            cancel::publish_limit(record);
            (*thread).alarm = (*record).alarm;
            (*fiber).state = State::Running;
            if !(*fiber).begun {
                (*fiber).begun = true;
                if let Some(job) = self.books().begin(index as usize) {
                    (*record).begin(job);
                }
            }
            (*record).suspended = Suspended::No;
            end_wait(record);
            (*self.interpreter.get()).restore(&mut (*fiber).run, &(*fiber).saved);
            self.attached.switch();
            // As `away` does, but in the loop itself.
            self.local.tenure.presence.leave((*record).key.id);
            (*thread).place = SS_ON_FIBER as i32;
            let resumed = (*fiber).coroutine.as_mut().expect("a live fiber has its stack").resume(&mut self.home);
            (*thread).place = SS_NO_FIBER as i32;
            if !self.local.tenure.presence.back() {
                lost::leave();
            }
            (*fiber).saved = (*self.interpreter.get()).save();
            (*record).frame = (*thread).frame;
            (*thread).fiber = std::ptr::null_mut();
            (*thread).fiber_id = 0;
            (*thread).stack_limit = 0;
            store_deadline(&raw mut (*thread).deadline, u64::MAX);
            (*record).set_alarm((*thread).alarm);
            (record, resumed)
        };
        match resumed {
            Resumed::Done => self.end(index),
            // SAFETY: the thread's own state; the handler that sets it runs on this thread, while a fiber does.
            Resumed::Suspended if unsafe { (*self.thread).faulted } != 0 => self.faulted(index),
            Resumed::Suspended => {
                // SAFETY: as above; it is suspended now.
                let (suspended, changed) = unsafe { ((*record).suspended, (*record).limit.changed) };
                if changed {
                    self.set_limit(index);
                }
                // SAFETY: as above.
                let state = unsafe { &mut (*fiber).state };
                if let Suspended::Call(_) = suspended {
                    *state = State::Waiting;
                    // SAFETY: as above.
                    unsafe { begin_wait(record) };
                } else {
                    *state = State::Ready;
                    if suspended == Suspended::Turn {
                        // A slice is long: what came meanwhile is looked at first.
                        self.units = 0;
                    }
                    self.ready.push_back(Next::Ready(index));
                }
                // SAFETY: as above.
                if let Some(cpu) = unsafe { &mut (*record).cpu } {
                    cpu.end();
                    if cpu.is_over() {
                        // SAFETY: as above.
                        let key = unsafe { (*record).key };
                        self.cancel(key, Reason::Cpu);
                    }
                }
            }
        }
        // However it left the thread: the next one may already be refused what it asks for.
        self.relieve_memory();
    }

    /// A host future of a fiber was woken. The fiber's index if it is to get the thread at once.
    pub(super) fn woken(&mut self, key: FiberKey, way: Way) -> Option<u32> {
        let record = self.record(key)?;
        // SAFETY: the record of a live fiber that is not running: this is the worker loop.
        unsafe { (*record).waker.taken(way) };
        if self.polled(record)
            && self.fibers[key.index as usize].as_mut().is_some_and(|f| f.state.ready() == Enqueue::Now)
        {
            // At once while that is nobody's loss: else what wakes itself (a script that gives way) would go first for ever.
            if self.ready.is_empty() {
                return Some(key.index);
            }
            self.ready.push_back(Next::Ready(key.index));
        }
        None
    }

    /// A timer of a fiber's host futures was due. True if the fiber is to get the thread.
    pub(super) fn due(&mut self, key: FiberKey) -> bool {
        let Some(record) = self.record(key) else { return false };
        // SAFETY: as in `woken`.
        let go = unsafe { host_call::slept(record) } || self.polled(record);
        go && self.fibers[key.index as usize].as_mut().is_some_and(|fiber| fiber.state.ready() == Enqueue::Now)
    }

    /// Polls a fiber's host futures, where it is not known what they wait for.
    #[inline(never)]
    fn polled(&mut self, record: *mut FiberRecord) -> bool {
        // SAFETY: as in `woken`.
        let (key, go) = unsafe {
            let FiberRecord { key, limit: LimitAt { due, .. }, .. } = *record;
            (key, Self::away(&self.local.tenure, key.id, Some(due), || host_call::woken(record)))
        };
        self.note_limit(key.index);
        go
    }

    /// Cancels a fiber as a whole.
    pub(super) fn cancel(&mut self, key: FiberKey, reason: Reason) {
        let Some(record) = self.record(key) else { return };
        if self.fibers[key.index as usize].as_ref().is_some_and(|fiber| !fiber.begun) {
            return self.end_unbegun(key.index, reason);
        }
        // SAFETY: as in `woken`.
        let go = unsafe { Self::away(&self.local.tenure, key.id, Some(0), || cancel::whole(record, reason)) };
        self.set_limit(key.index);
        if go {
            self.enqueue(key.index);
        }
    }

    /// Completion beats a later cancel: what the host call gave that the fiber waited in reaches the guest first.
    pub(super) fn pass_on_completion(&mut self, key: FiberKey) {
        let Some(record) = self.record(key) else { return };
        let begun = self.fibers[key.index as usize].as_ref().is_some_and(|fiber| fiber.begun);
        // One that is ready, and is neither in a host call nor at the end of a turn, has what it waited for.
        // SAFETY: as in `woken`.
        let completed = begun && unsafe { (*record).suspended } == Suspended::No;
        if let Some(at) = self.ready.iter().position(|next| *next == Next::Ready(key.index)).filter(|_| completed) {
            self.ready.remove(at);
            self.resume(key.index);
        }
    }

    /// Cancels the fiber of this id. Whether there is one.
    pub(super) fn cancel_by_id(&mut self, id: u64) -> bool {
        let found = self.fibers.iter().flatten().map(|fiber| fiber.record.key).find(|key| key.id == id);
        if let Some(key) = found {
            self.cancel(key, Reason::Hand);
        }
        found.is_some()
    }

    /// Limits that have passed: deadlines, graces that are over, and guests' alarms.
    pub(super) fn run_limits(&mut self, now: Instant) {
        for index in self.limits.due(now) {
            let Some(fiber) = self.fibers[index as usize].as_deref_mut() else { continue };
            let (key, deadline) = (fiber.record.key, fiber.record.context.caller.deadline);
            if fiber.record.grace_over(now) {
                // It is ready or gets ready: nothing waits while a cancel is under way. It dies when it looks up.
                fiber.record.kill();
            }
            let alarm = fiber.record.take_alarm(now);
            if deadline.is_some_and(|deadline| now >= deadline) {
                self.cancel(key, Reason::Deadline);
            } else if alarm
                && self.record(key).is_some_and(|record| {
                    // SAFETY: as in `woken`.
                    unsafe { cancel::alarm(record) }
                })
            {
                self.enqueue(index);
            }
            self.set_limit(index);
        }
        self.run_backlog_deadlines(now);
        let Some(ending) = &mut self.books().ending else { return };
        if ending.cancel_at.is_some_and(|at| now >= at) {
            ending.cancel_at = None;
            self.cancel_all();
        }
    }

    /// Timers that are due wake their futures.
    pub(super) fn run_timers(&mut self, now: Instant) {
        loop {
            let due = self.local.timers.borrow_mut().due(now);
            let Some(mut due) = due else { return };
            for wait in due.drain(..) {
                match wait.whom {
                    Some(Whom::Fiber(key)) => self.ready.push_back(Next::Due(key)),
                    Some(Whom::Other(waker)) => {
                        if let Err(Panicked(message)) = fence(|| waker.wake()) {
                            tracing::error!(target: "sidestack", %message, "a waker panicked");
                        }
                    }
                    None => {}
                }
            }
            self.local.timers.borrow_mut().give_back(due);
        }
    }

    /// Puts a fiber that waits into the ready queue.
    pub(super) fn enqueue(&mut self, index: u32) {
        if self.fibers[index as usize].as_mut().is_some_and(|fiber| fiber.state.ready() == Enqueue::Now) {
            self.ready.push_back(Next::Ready(index));
        }
    }

    /// Writes down when the fiber is next to be looked at.
    pub(super) fn set_limit(&mut self, index: u32) {
        let Some(fiber) = self.fibers[index as usize].as_deref_mut() else { return };
        fiber.record.limit.changed = false;
        self.limits.set(index, fiber.record.limit.at);
    }

    /// The same, if that has changed.
    #[inline]
    fn note_limit(&mut self, index: u32) {
        if self.fibers[index as usize].as_deref().is_some_and(|fiber| fiber.record.limit.changed) {
            self.set_limit(index);
        }
    }

    /// The record of a fiber, if it still lives.
    fn record(&mut self, key: FiberKey) -> Option<*mut FiberRecord> {
        let fiber = self.fibers.get_mut(key.index as usize)?.as_deref_mut()?;
        (fiber.record.key == key).then_some(&raw mut fiber.record)
    }
}

#[cold]
fn no_ticks(error: &io::Error) {
    tracing::error!(target: "sidestack", %error, "the tick cannot be armed: slices and deadlines of running code are off");
}

/// A fiber waits, and somebody wants to know for how long it does.
#[inline]
unsafe fn begin_wait(record: *mut FiberRecord) {
    // SAFETY: the caller's record, of a suspended fiber.
    unsafe {
        let context = FiberRecord::context(record);
        if context.caller.stats.is_some()
            && let Suspended::Call(id) = (*record).suspended
            && let Some(place) = (*record).find(id)
        {
            let since = Some(((*record).at(place).function, Instant::now()));
            context.tally.waits.set(Waits { since, ..context.tally.waits.get() });
        }
    }
}

/// It goes on.
#[inline]
unsafe fn end_wait(record: *mut FiberRecord) {
    // SAFETY: the caller's record.
    let context = unsafe { FiberRecord::context(record) };
    if context.caller.stats.is_none() {
        return;
    }
    let waits = &context.tally.waits;
    let Waits { total, since, .. } = waits.get();
    if let Some((function, since)) = since {
        let took = since.elapsed();
        waits.set(Waits { total: total + took, last: Some((function, took)), since: None });
    }
}
