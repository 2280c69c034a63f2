//! Blocking C libraries wait without blocking (feature `hooks`).
//!
//! With this feature, the C library's blocking calls that guest code makes on a fiber suspend the fiber until the kernel is
//! ready. The library that makes them is used as it is: unmodified, from the distribution, linked or loaded later. Nothing
//! has to be switched on; calls by host code and on other threads pass through untouched.
//!
//! | caught | how it waits |
//! | --- | --- |
//! | `read`, `readv`, `recv`, `recvfrom`, `recvmsg`, `write`, `writev`, `send`, `sendto`, `sendmsg`, `accept`, `accept4`, `connect` | on descriptors without `O_NONBLOCK`: sockets (with `SO_RCVTIMEO`, `SO_SNDTIMEO`), pipes, terminals, eventfd and the like. Regular files pass through |
//! | `poll`, `ppoll`, `select`, `pselect`, `epoll_wait`, `epoll_pwait` | always, unless the timeout is 0 |
//! | `sleep`, `usleep`, `nanosleep`, `clock_nanosleep` | on the interpreter's timers: up to a tenth of a millisecond too long, or a whole one after waits of more than 60 |
//! | `getaddrinfo`, `getnameinfo`, `gethostbyname_r`, `res_nsearch` | on a thread pool; numeric addresses at once |
//! | `flock` | by trying again, every 1 to 8 ms: whoever comes first gets the lock |
//! | `waitpid` | for one child, without options (kernels with `pidfd_open`) |
//! | `pclose` | on a thread pool |
//! | `close`, `dup2`, `dup3` | they do not: fibers that wait for the closed descriptor go on with `EBADF` (`poll`: `POLLNVAL`) |
//!
//! A fiber that is cancelled, or past its deadline, gets -1 and `ECANCELED` from the call that waits and from each later one
//! that would have to (`getaddrinfo`, `getnameinfo`: `EAI_SYSTEM`; `clock_nanosleep`, `gethostbyname_r`: `ECANCELED`; `sleep`:
//! what is left). Calls that are ready at once work, so a library can clean up, and what `pclose` closes is closed all the same.
//! No wait ends with `EINTR`: a guest's signals are delivered when its fiber goes on.
//!
//! # What is not caught
//!
//! - **pthread waits** (mutexes, conditions, joins, semaphores) block the interpreter thread. A fiber must not wait in a
//!   hooked call while it holds a lock that another fiber of the same thread takes: they would be one thread that waits for
//!   itself.
//! - What the C library calls inside itself: stdio (`fread`, `fgets`, ... on pipes and terminals), `system`, `gethostbyname`,
//!   `gethostbyaddr`, `res_search`, and calls that are not in the table (`fcntl(F_SETLKW)`, `wait`, `waitid`, `sendfile`,
//!   `splice`, `recvmmsg`, `sendmmsg`, `epoll_pwait2`, `sigwait`, `msgrcv`, ...), and system calls made without the C library.
//! - A library that keeps state in thread-locals across a wait shares it between the fibers of the thread. `errno` is each
//!   fiber's own.
//! - In a guest's signal handler nothing is suspended: calls that wait block the thread, as they do in a finalizer.
//! - `SO_RCVLOWAT` above 1 and the inter-byte timer of terminals are not looked at; reads of a terminal whose mode ends them
//!   by itself (`VMIN` 0) pass through.
//! - A descriptor that is shared with another process or another thread without hooks, which takes what `poll` announced,
//!   can block the thread in `accept`, and in `read` of what is neither socket nor pipe.
//! - A descriptor closed by host code or another thread while a fiber waits for it: as without hooks, the fiber waits on.
//! - `connect` sets `O_NONBLOCK` for the length of one system call, which others that share the open file might see.
//!
//! # Linking
//!
//! The functions are defined in the executable, before the C library's. That needs a dynamically linked glibc and an
//! executable; in a `cdylib` they catch nothing, and under AddressSanitizer, which has interceptors of its own, they are left
//! out. [`missing`] tells.
//!
//! # How
//!
//! A hooked call (`csrc/hooks`) first tries without blocking. If it would block, it makes a host call of the hidden module
//! `sidestack.hooks`, whose future waits for an `epoll` instance that one thread of the process serves, and for a timer of
//! the interpreter. Then it tries again.

mod reactor;
mod wait;
mod work;

use std::ffi::{CStr, c_char, c_int};
use std::future::poll_fn;
use std::task::Poll;

use self::wait::Start;
use crate::host::Module;
use crate::host::function::{encode, shape};

unsafe extern "C" {
    /// See `csrc/hooks/hooks.h`. [any thread; no; no]
    safe fn ss_hooks_missing(index: u32) -> *const c_char;
}

/// The calls of the table above that something else stands before, so that they are not caught. Empty in a program that is
/// linked as the module's text says.
pub fn missing() -> Vec<&'static str> {
    (0u32..)
        .map(|index| ss_hooks_missing(index))
        .take_while(|name| !name.is_null())
        // SAFETY: string constants of C, terminated.
        .map(|name| unsafe { CStr::from_ptr(name) }.to_str().expect("names of functions"))
        .collect()
}

/// The host functions that csrc/hooks calls.
pub(crate) fn module() -> Option<Module> {
    // Keeps the hooks: a linker takes an object of an archive only if something refers to it.
    let _ = ss_hooks_missing(u32::MAX);
    let closing = |fd: c_int| {
        reactor::closing(fd);
        Ok(())
    };
    let wait = shape(|args| match wait::start(args) {
        Ok(Start::Wait(wait)) => args.pending(async move { encode(&wait.await) }),
        Ok(Start::Sleep(duration)) => args.sleep(duration),
        Ok(Start::Ready) => args.ready(Ok(wait::READY)),
        Err(error) => args.ready(Ok(-i64::from(error))),
    });
    let work = shape(|args| {
        // SAFETY: csrc/hooks/work.c is the only caller (the module is hidden from scripts) and passes one that it holds.
        let work = unsafe { work::Work::take(args) };
        args.pending(async move {
            let work = work?;
            give_way().await;
            work.done().await;
            encode(&())
        })
    });
    let module = Module::new("sidestack.hooks").hidden().function("closing", closing);
    Some(module.erased("wait", wait).erased("work", work))
}

/// Waits, if only for a moment: a fiber that is cancelled is refused before the pool has work for nobody.
async fn give_way() {
    let mut first = true;
    poll_fn(|task| {
        if std::mem::take(&mut first) {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
