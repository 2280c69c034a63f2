//! The fence: host code may panic anywhere; a panic never goes further than this.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic that was stopped, as text.
#[derive(Debug)]
pub struct Panicked(pub String);

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
