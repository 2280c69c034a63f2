//! A hooked call's wait: for any number of descriptors, and for a time.

use std::future::Future;
use std::pin::Pin;
use std::slice;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libc::{EINVAL, pollfd};
use rustix::event::epoll::EventFlags;

use super::reactor::{self, Outcome, Signal};
use crate::host::args::Args;
use crate::host::timer::Sleep;

/// What csrc/hooks/hooks.h calls SS_WAIT_OVER, SS_WAIT_READY and SS_WAIT_CLOSED. The first is also meant where there is no result.
const OVER: i64 = 0;
/// As above.
pub const READY: i64 = 1;
const CLOSED: i64 = 2;

/// The future. Dropping it, when the fiber is cancelled, takes it out of the reactor.
pub struct Wait {
    signal: Arc<Signal>,
    descriptors: Vec<i32>,
    sleep: Option<Sleep>,
}

/// How a wait begins.
pub enum Start {
    /// It is for descriptors, or for ever.
    Wait(Wait),
    /// It is for a time only.
    Sleep(Duration),
    /// Look again at once.
    Ready,
}

/// Begins a wait; the arguments are the descriptors (address of `struct pollfd`s, and their number) and the time in
/// nanoseconds (negative: no limit). Errors are errno values.
pub fn start(args: &mut Args<'_>) -> Result<Start, i32> {
    let mut next = || args.take::<i64>().map_err(|_| EINVAL);
    let (address, count, after) = (next()?, next()?, next()?);
    let count = usize::try_from(count).map_err(|_| EINVAL)?;
    let after = u64::try_from(after).ok().map(Duration::from_nanos);
    if let (0, Some(after)) = (count, after) {
        return Ok(Start::Sleep(after));
    }
    let sleep = after.map(|after| Sleep::new(args.local().clone(), after));
    let mut wait = Wait { signal: Arc::default(), descriptors: Vec::with_capacity(count), sleep };
    let wanted = match count {
        0 => &[],
        // SAFETY: csrc/hooks passes an array that the hooked call's caller, or the hook's own frame, holds while the call
        // lasts. This module is the only one to call the function, and it is hidden from scripts.
        _ => unsafe { slice::from_raw_parts(address as usize as *const pollfd, count) },
    };
    for one in wanted.iter().filter(|one| one.fd >= 0) {
        // The bits of both are the same; those that poll ignores are left out.
        let events = EventFlags::from_bits_retain(u32::from(one.events.cast_unsigned()) & POLL_BITS);
        match reactor::add(one.fd, events, &wait.signal) {
            Ok(true) => wait.descriptors.push(one.fd),
            Ok(false) => {}
            Err(error) => return Err(error.raw_os_error().unwrap_or(libc::EIO)),
        }
        if wait.signal.outcome() != Outcome::Waiting {
            return Ok(Start::Ready);
        }
    }
    Ok(Start::Wait(wait))
}

/// IN, PRI, OUT, RDNORM, RDBAND, WRNORM, WRBAND, MSG, RDHUP.
const POLL_BITS: u32 = 0x27c7;

impl Future for Wait {
    type Output = i64;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<i64> {
        self.signal.waker.register(task.waker());
        match self.signal.outcome() {
            Outcome::Ready => return Poll::Ready(READY),
            Outcome::Closed => return Poll::Ready(CLOSED),
            Outcome::Waiting => {}
        }
        match self.sleep.as_mut().map(|sleep| Pin::new(sleep).poll(task)) {
            Some(Poll::Ready(())) => Poll::Ready(OVER),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        for fd in &self.descriptors {
            reactor::remove(*fd, &self.signal);
        }
    }
}
