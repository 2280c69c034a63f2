//! The fence: host code may panic anywhere; a panic never goes further than this.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::call::wake;

/// A panic that was stopped, as text.
#[derive(Debug)]
pub struct Panicked(pub String);

thread_local! {
    /// The frames of the last panic on this thread, from the panic outwards; not yet taken.
    static FRAMES: Cell<Vec<usize>> = const { Cell::new(Vec::new()) };
}

/// More frames of a panic are not kept.
const KEPT_FRAMES: usize = 128;

/// From now on panics on interpreter threads leave their frames for [`panic_frames`]. A panic hook, since after the unwinding they are
/// gone; the hook that was there before runs as ever.
pub fn watch_panics() {
    static WATCHED: Once = Once::new();
    // While a thread panics, hooks cannot be changed: the next engine does it.
    if !std::thread::panicking() {
        WATCHED.call_once(|| {
            let former = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if wake::on_interpreter_thread() {
                    FRAMES.set(return_addresses());
                }
                former(info);
            }));
        });
    }
}

fn return_addresses() -> Vec<usize> {
    let mut frames = Vec::new();
    backtrace::trace(|frame| {
        frames.push(frame.ip().addr());
        frames.len() < KEPT_FRAMES
    });
    frames
}

/// Takes the frames of the panic that was just stopped.
pub fn panic_frames() -> Vec<usize> {
    FRAMES.take()
}

/// Runs host code (a function, a poll, a drop, a wake) and stops its panic.
///
/// Unwind safety: whatever the code shared is either dropped after a panic, by the callers of this, or has its own lock.
#[inline]
pub fn fence<R>(code: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| Panicked(describe(payload)))
}

/// Drops a value behind the fence.
pub fn drop_fenced<T>(value: T) {
    if let Err(Panicked(message)) = fence(|| drop(value)) {
        tracing::error!(target: "sidestack", %message, "a host value panicked in its drop");
    }
}

#[cold]
fn describe(payload: Box<dyn Any + Send>) -> String {
    let text = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic with a payload that is no text".to_string()
    };
    // A payload's own drop may panic; what that panics with is leaked, or this would never end.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    text
}
