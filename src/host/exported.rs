//! Exported functions: what the crossing, the watchdog and the generated header know of one.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use linkme::distributed_slice;

use super::args::Args;
use super::function::{Begun, HostCall, Started};
use super::future::HostFuture;
use super::registry::Entry;
use crate::Error;
use crate::error::{HostResult, refused};
use crate::host::reply::Reply;

/// All exported functions of the process, in the linker's order.
#[distributed_slice]
pub static EXPORTS: [Export];

/// How a type is written in C.
#[derive(Debug, Clone, Copy)]
pub enum C {
    /// `void`.
    Void,
    /// A type by its name: `int32_t`, `struct point`.
    Name(&'static str),
    /// A pointer.
    Pointer {
        /// What it points to.
        to: &'static C,
        /// That is `const`.
        constant: bool,
    },
    /// A pointer to a function.
    Function {
        /// What it returns.
        result: &'static C,
        /// What it takes.
        parameters: &'static [C],
    },
}

/// A C parameter.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name in Rust.
    pub name: &'static str,
    /// Its type.
    pub c: C,
}

/// What C gets when a function fails.
#[derive(Debug, Clone, Copy)]
pub enum OnError {
    /// This value.
    Value(&'static str),
    /// This status, where 0 is success.
    Status(&'static str),
    /// Zero of its kind. The Rust function returns no error; a cancel, a refusal or a panic gives this.
    Zero,
    /// It cannot.
    Never,
}

/// What a thread may do that is no interpreter thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Nothing: the call fails.
    Reject,
    /// The function runs on an interpreter of the engine that owns such calls; the thread waits.
    Owner,
    /// The function runs on that thread.
    Attach,
}

/// An exported function.
pub struct Export {
    /// Its C name.
    pub name: &'static str,
    /// Its documentation's first paragraph.
    pub doc: &'static str,
    /// What it returns in C.
    pub result: C,
    /// Its C parameters.
    pub parameters: &'static [Parameter],
    /// What C gets on an error.
    pub on_error: OnError,
    /// It runs where it is called, without crossing.
    pub on_fiber: bool,
    /// It is async.
    pub suspends: bool,
    /// C that it calls does not call the host.
    pub never_calls_back: bool,
    /// What other threads may do.
    pub foreign: Foreign,
    /// The interpreter gives it parameters.
    pub extracts: bool,
    /// For those, who want the function's name; empty at first.
    pub entry: OnceLock<Entry>,
    /// Starts a call: the first argument points to its arguments, the second to where the result goes, which is written once, when
    /// the call succeeds. The last one is what extractors take from; `None` on a thread without an interpreter.
    pub start: unsafe fn(*const (), *mut (), Option<&mut Args<'_>>) -> Started,
}

/// Numbers from here on are exports'; smaller ones are an engine's own functions'.
const FIRST: u32 = 1 << 30;

/// An export is not called by its number.
struct Unnumbered;

impl HostCall for Unnumbered {
    fn start(&self, args: &mut Args<'_>) -> Begun {
        args.started = Some(Started::Ready(Err(anyhow::anyhow!("an exported function is called by its symbol"))));
        Begun::Started
    }
}

impl Export {
    /// The function as extractors know it.
    pub fn entry(&'static self) -> &'static Entry {
        self.entry.get_or_init(|| {
            let (id, name) = (self.number(), self.name.to_string());
            Entry { id, name, call: Arc::new(Unnumbered), own: false }
        })
    }

    /// Its number among all host functions, for the watchdog and for messages.
    #[inline]
    pub fn number(&'static self) -> u32 {
        let bytes = std::ptr::from_ref(self).addr().wrapping_sub(EXPORTS.as_ptr().addr());
        // There are fewer than 2^30 of them.
        FIRST + (bytes / size_of::<Export>()) as u32
    }

    /// Starts a call, behind the caller's fence.
    ///
    /// # Safety
    ///
    /// `args` and `result` point to what the attribute's expansion made for this function. They stay valid until the call is over:
    /// `Started` is ready, or its future is dropped.
    #[inline]
    pub unsafe fn run(&'static self, args: *const (), result: *mut (), call: Option<&mut Args<'_>>) -> Started {
        if !self.never_calls_back {
            // SAFETY: passed on.
            return unsafe { (self.start)(args, result, call) };
        }
        let _running = Running::enter(self.name);
        // SAFETY: passed on.
        match unsafe { (self.start)(args, result, call) } {
            Started::Pending(future) => Started::Pending(HostFuture::new(Silent { name: self.name, future })),
            ready => ready,
        }
    }
}

/// The name of the host function with this number, if it is an export.
pub fn name(number: u32) -> Option<&'static str> {
    EXPORTS.get(number.checked_sub(FIRST)? as usize).map(|export| export.name)
}

thread_local! {
    /// The function that runs on this thread and has promised that C it calls does not call the host.
    static NEVER_CALLS_BACK: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The error of a call to the host by C that a function called which never calls back.
#[cold]
pub fn called_back() -> Option<Error> {
    let name = NEVER_CALLS_BACK.get()?;
    Some(Error::Refused {
        name: refused::CALLED_BACK,
        message: format!("{name} is marked no_callback, and C that it called has called the host"),
    })
}

/// While such a function runs.
struct Running {
    outer: Option<&'static str>,
}

impl Running {
    fn enter(name: &'static str) -> Running {
        Running { outer: NEVER_CALLS_BACK.replace(Some(name)) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        NEVER_CALLS_BACK.set(self.outer);
    }
}

/// The future of such a function.
struct Silent {
    name: &'static str,
    future: HostFuture,
}

impl Future for Silent {
    type Output = HostResult<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _running = Running::enter(self.name);
        self.future.poll(cx)
    }
}
