//! What both sides of a comparison measure with: these, and the others' (`benches/peers`), which has this file as a module.

use std::sync::OnceLock;
use std::task::Poll;
use std::time::Instant;

/// Nanoseconds since the first call of this.
///
/// # Panics
///
/// After three centuries.
pub fn now() -> i64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    i64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).expect("a short run")
}

/// Pending once, woken by itself: a wait that is over as soon as somebody looks.
pub async fn wait_once() {
    let mut first = true;
    std::future::poll_fn(|task| {
        if std::mem::take(&mut first) {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await
}

/// Resident bytes of this process.
///
/// # Panics
///
/// Where `/proc` does not tell.
pub fn resident() -> u128 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = text.lines().find(|line| line.starts_with("Rss:")).expect("it has an Rss");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u128>().ok()).expect("in KiB");
    kib * 1024
}
