//! The end of an engine, in steps that each have a time limit.
//!
//! 1. **Closing**, at once: no new calls.
//! 2. **Draining**, at most the caller's patience: what runs and what waits may end by itself.
//! 3. **Cancelling**, at most the grace: all that is left is cancelled; what waits is refused. After the grace it is killed.
//! 4. **Ending**, at most [`ENDING`]: interpreters that have no fiber left close (finalizers run), and their threads end.
//! 5. **Leaving behind**: an interpreter that has not ended by then is given up as one that hangs at any other time
//!    (`worker::quarantine`), but without a replacement. Its callers are told, and it is reported. Its thread, its stacks and its heap stay as
//!    they are: nothing is freed under code that may still run.
//! 6. The watchdog ends.
//!
//! An interpreter enters each step by itself (2 to 4 are its worker's); a thread that waits for all of them keeps the limits, whatever they
//! do, and with any async runtime.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::{Engine, Metrics};
use crate::call::inbox::{Inbox, Message};
use crate::worker::quarantine::Watched;

/// From the kill until what still runs is left behind.
const ENDING: Duration = Duration::from_millis(500);
/// How long it is tried to give up one that comes and goes.
const TRYING: Duration = Duration::from_millis(50);

impl Engine {
    /// Ends the engine: 1. no new calls; 2. those that run have `patience` to end; 3. then they are cancelled, and killed
    /// after the grace; 4. interpreters close and their threads end, within half a second; 5. one that has not ended then is left
    /// behind: it counts as `stuck`, and, where its thread is in code that does not come back, as `quarantined` and
    /// `abandoned`, and its calls are [`Error::InterpreterLost`](crate::Error::InterpreterLost).
    ///
    /// It returns after `patience`, the grace and half a second at the latest. It may be called again, also at the same time.
    pub async fn shutdown(&self, patience: Duration) -> Metrics {
        self.0.closing.store(true, Ordering::Release);
        // A century is as good as for ever, and does not overflow.
        let cancel_at = Instant::now() + patience.min(Duration::from_secs(100 * 365 * 86_400));
        let (done, ended) = crossbeam_channel::unbounded();
        for inbox in &self.0.inboxes {
            inbox.close();
            inbox.send(Message::Drain { cancel_at, done: done.clone() });
        }
        drop(done);
        let until = cancel_at + self.0.grace + ENDING;
        let (inboxes, watched) = (self.0.inboxes.clone(), self.0.watched.clone());
        let (tell, told) = oneshot::channel();
        let waiter = std::thread::Builder::new().name("sidestack-shutdown".into()).spawn(move || {
            let left = || inboxes.iter().filter(|inbox| !inbox.ended()).count();
            while left() > 0 && ended.recv_deadline(until).is_ok() {}
            watched.iter().filter_map(Weak::upgrade).filter(|one| !one.inbox().ended()).for_each(leave_behind);
            let ended = || inboxes.iter().zip(&watched).filter(|(inbox, _)| inbox.ended());
            while ended().any(threads_run) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            let behind = |inbox: &&Arc<Inbox>| !inbox.ended() || inbox.left_behind().load(Ordering::Acquire) > 0;
            let _ = tell.send(inboxes.iter().filter(behind).count());
        });
        let stuck = match waiter {
            Ok(_) => told.await.unwrap_or(0),
            Err(_) => 0,
        };
        self.0.watchdog.stop();
        self.0.stuck.store(stuck, Ordering::Relaxed);
        self.metrics()
    }
}

/// Gives up an interpreter that has not ended, if its thread is away.
fn leave_behind(watched: Arc<dyn Watched>) {
    let begun = Instant::now();
    while !watched.inbox().ended() && begun.elapsed() < TRYING {
        let absence = watched.inbox().tenure().and_then(|tenure| tenure.presence.absence());
        if absence.is_some_and(|absence| watched.clone().give_up(absence, true)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a thread of an interpreter runs that was not left behind: each holds it.
fn threads_run((inbox, watched): (&Arc<Inbox>, &Weak<dyn Watched>)) -> bool {
    watched.strong_count() > inbox.left_behind().load(Ordering::Acquire)
}
