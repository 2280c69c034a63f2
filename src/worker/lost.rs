//! What becomes of an incarnation that was lost, on its thread, once its calls are told and its replacement is under way. One that
//! was given up because its thread did not come back (`quarantine`) counts as abandoned until it does.
//!
//! **Reclaimed**: control has come back from its fibers, and its guest can give back all that it has without running. Then its
//! stacks are unmapped, what host objects it held are dropped, and the thread ends.
//!
//! **Abandoned**: all other guests. Code somewhere else (a thread that C started, a callback in a library) may still point into
//! stacks and heap: they are leaked, counted, and bounded by a setting. The thread sleeps for ever, since its end would run
//! destructors of the guest's thread-local objects.

use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;

use super::Worker;
use super::quarantine::tell;
use super::thread::{Losses, Post};
use crate::crossing::fence::drop_fenced;
use crate::guest::{Guest, Interpreter};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Thread {
    /// Nothing of a guest is left on it.
    Ends,
    /// It must not end.
    Sleeps,
}

/// Leaves the loop of a worker that finds itself given up, for `thread`.
#[cold]
pub(super) fn leave() -> ! {
    std::panic::resume_unwind(Box::new("its interpreter was given up"))
}

/// The thread of an incarnation that was given up has come back. Others have told its callers, and read its inbox now.
#[cold]
pub(super) fn came_back<G: Guest>(mut worker: ManuallyDrop<Worker<G::Interpreter>>, post: &Post<G>) -> Thread {
    let interpreter = post.inbox.interpreter;
    tracing::info!(target: "sidestack", interpreter, "the thread of an interpreter that was given up has come back");
    // SAFETY: the loop of this thread has been left: nobody else uses the interpreter.
    unsafe { (*worker.interpreter.get()).lost() };
    worker.forget_fibers();
    // Nobody else uses the books of one that is lost.
    tell(worker.books().give_back(), &post.inbox);
    post.inbox.left_behind().fetch_sub(1, Ordering::AcqRel);
    if reclaim(&mut worker) {
        drop_all(worker);
        post.losses.abandoned.fetch_sub(1, Ordering::Relaxed);
        post.losses.reclaimed.fetch_add(1, Ordering::Relaxed);
        return Thread::Ends;
    }
    leak(worker)
}

/// Gives back what can be given back, after [`Worker::lose`].
#[cold]
pub(super) fn clear<I: Interpreter>(mut worker: ManuallyDrop<Worker<I>>, losses: &Losses) -> Thread {
    if reclaim(&mut worker) {
        drop_all(worker);
        losses.reclaimed.fetch_add(1, Ordering::Relaxed);
        return Thread::Ends;
    }
    losses.count_abandoned(worker.settings.abandoned);
    leak(worker)
}

fn reclaim<I: Interpreter>(worker: &mut Worker<I>) -> bool {
    // SAFETY: the loop has been left, so that each fiber is suspended; nobody resumes one again.
    unsafe { (*worker.interpreter.get()).reclaim() }
}

fn drop_all<I: Interpreter>(mut worker: ManuallyDrop<Worker<I>>) {
    // Each behind its own fence: they hold values of the host's.
    worker.local.let_go().into_iter().for_each(drop_fenced);
    worker.fibers.drain(..).for_each(drop_fenced);
    drop_fenced(ManuallyDrop::into_inner(worker));
}

fn leak<I: Interpreter>(mut worker: ManuallyDrop<Worker<I>>) -> Thread {
    // SAFETY: nothing of the guest runs on this thread again, and the rest of the worker is leaked unread.
    unsafe { std::ptr::drop_in_place(&raw mut worker.attached) };
    Thread::Sleeps
}

impl Losses {
    /// One more interpreter is abandoned: past the bound the process ends, with a report.
    pub(super) fn count_abandoned(&self, bound: u64) {
        let abandoned = self.abandoned.fetch_add(1, Ordering::Relaxed) + 1;
        if abandoned > bound {
            eprintln!(
                "sidestack: the process ends: {abandoned} interpreters were lost and their memory with them (setting: abandoned)"
            );
            std::process::abort();
        }
    }
}

/// The rest of a thread that must not end.
pub(super) fn sleep() -> ! {
    loop {
        std::thread::park();
    }
}
