//! What the engine's own waits wait for, told when it is asked.
//!
//! Whether nothing can wake a fiber any more depends on who else holds what it waits for, which only its future knows. To find
//! out, the worker polls the future once more while the thread asks; one that goes on waiting tells.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;

/// What a wait is for.
#[derive(Debug, Default)]
pub struct Wait {
    /// It was given to Rust at some time: who has it now is not known here.
    pub given_out: bool,
    /// Which one it is, where there are several: "fiber 12".
    pub which: Option<String>,
}

thread_local! {
    /// What was told so far; `None`: nobody asks.
    static TOLD: RefCell<Option<Vec<Wait>>> = const { RefCell::new(None) };
}

/// Runs `polls`; returns what the waits tell that it polls.
pub fn asked(polls: impl FnOnce()) -> Vec<Wait> {
    TOLD.set(Some(Vec::new()));
    polls();
    TOLD.take().unwrap_or_default()
}

/// A wait goes on: if anybody asks, this is what it is for.
#[inline]
pub fn tell(wait: impl FnOnce() -> Wait) {
    TOLD.with_borrow_mut(|told| {
        if let Some(told) = told {
            told.push(wait());
        }
    });
}

/// A future that tells, whenever it goes on waiting.
pub async fn telling<F: Future>(future: F, wait: impl Fn() -> Wait) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|task| {
        let polled = future.as_mut().poll(task);
        if polled.is_pending() {
            tell(&wait);
        }
        polled
    })
    .await
}
