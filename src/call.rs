//! One guest call as it travels: the [`Job`](job::Job) that goes in, the [`Call`] that waits for it, the
//! [`Inbox`](inbox::Inbox) between them, and the wakers that come back to it.

pub mod activity;
pub mod backlog;
pub mod future;
pub mod inbox;
pub mod job;
pub mod ledger;
pub mod outcomes;
pub mod presence;
pub mod reference;
pub mod roster;
pub mod scheduled;
pub mod stats;
pub mod tenure;
pub mod wake;

pub use future::Call;
pub use outcomes::Failures;
pub use reference::Function;
pub use stats::CallStats;
