//! Signals of an interpreter thread: guests' own are deferred while host code runs, and the tick ends slices and
//! enforces deadlines.
//!
//! The work is done in C, on whatever stack a signal finds; the protocol and its races are told in `csrc/signals.c` and
//! `csrc/tick.c`. This is the face of it: [`Attached`] makes the calling thread an interpreter thread and arms its
//! timer, [`tick`] chooses the timer's signal.
//!
//! A resume does, in this order: [`Attached::arm`] where ticks are needed; `fiber_id`, `deadline` and the other fields of
//! the fiber; [`Attached::switch`]; `epoch`, `place`; and last, on the fiber, `ss_leave_host`. A suspension, in host
//! code already: `place`, `fiber_id = 0`, [`Attached::switch`]. A fiber that is over: [`Attached::fiber_end`] after that.

mod attach;
mod faults;
pub(crate) mod snapshot;
pub(crate) mod tick;

pub(crate) use attach::{Attached, enter_host, leave_host};
pub(crate) use faults::Crash;
