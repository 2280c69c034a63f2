//! What makes a closure a host function.

use std::mem::MaybeUninit;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Args, FromCall};
use super::future::HostFuture;
use super::reply::{self, Reply};
use crate::abi::SS_FEW;
use crate::error::HostResult;
use crate::value::few;

/// What starting a host function gives.
pub enum Started {
    /// It is over; the results are encoded.
    Ready(HostResult<Reply>),
    /// It is to be polled.
    Pending(HostFuture),
}

/// What [`HostCall::start`] left: in a register, because most calls are over at once and without results.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is over, with so many results, all in the frame of the call.
    Few(u32),
    /// See [`Args::started`].
    Started,
}

/// A host function with its type erased. Runs on the interpreter thread, on the thread's stack, behind the fence.
pub trait HostCall: Send + Sync {
    /// Starts one call.
    fn start(&self, args: &mut Args<'_>) -> Begun;
}

/// Marks plain closures.
#[derive(Debug)]
pub struct Plain;
/// Marks async closures and async fns.
#[derive(Debug)]
pub struct Suspending;
/// Marks plain closures that run on a thread pool.
#[derive(Debug)]
pub struct Blocking;

/// Closures that can be host functions: plain or async, with arguments that implement [`FromCall`], returning
/// [`HostResult`].
#[diagnostic::on_unimplemented(
    message = "this closure cannot be a host function",
    note = "arguments must be `Cx`, `State<T>`, `Ext<T>`, `Rest<T>` or `Deserialize`; it must return `anyhow::Result<T>` with `T: Serialize`"
)]
pub trait HostFn<M>: Send + Sync + 'static {
    /// Erases the type.
    #[doc(hidden)]
    fn erase(self) -> Arc<dyn HostCall>;
}

/// Plain closures that may block: their arguments and result travel to a thread pool.
#[diagnostic::on_unimplemented(
    message = "this closure cannot be a blocking host function",
    note = "arguments must be `Send` and `State<T>`, `Ext<T>`, `Rest<T>` or `Deserialize`; it must return `anyhow::Result<T>` with `T: Serialize + Send`"
)]
pub trait BlockingFn<M>: Send + Sync + 'static {
    /// Erases the type.
    #[doc(hidden)]
    fn erase(self) -> Arc<dyn HostCall>;
}

/// Encodes a function's result: a tuple is several results, `()` none.
#[inline]
pub fn encode<R: Serialize>(value: &R) -> HostResult<Reply> {
    if few(value, &mut [MaybeUninit::uninit(); SS_FEW as usize]) == Some(0) {
        return Ok(None);
    }
    let mut flat = reply::take();
    match flat.push_args(value) {
        Ok(()) if flat.count() == 0 => {
            reply::give(flat);
            Ok(None)
        }
        Ok(()) => Ok(Some(flat)),
        Err(e) => {
            reply::give(flat);
            Err(crate::Error::Convert { place: "result of a host function".into(), message: e.to_string() }.into())
        }
    }
}

/// Erased shapes, shared by functions and methods: `start` extracts, then calls.
pub struct Shape<S>(pub S);

impl<S: Fn(&mut Args<'_>) -> Begun + Send + Sync> HostCall for Shape<S> {
    #[inline]
    fn start(&self, args: &mut Args<'_>) -> Begun {
        (self.0)(args)
    }
}

/// Pins a closure to the signature that [`Shape`] needs.
pub fn shape<S: Fn(&mut Args<'_>) -> Begun + Send + Sync + 'static>(start: S) -> Arc<dyn HostCall> {
    Arc::new(Shape(start))
}

/// Takes one extractor from the call or returns its error.
macro_rules! extract {
    ($args:ident, $($A:ident),*) => {
        $(#[allow(non_snake_case, reason = "a type parameter names its value")]
        let $A = match $A::from_call($args) {
            Ok(value) => value,
            Err(e) => return $args.fail(e),
        };)*
    };
}
pub(super) use extract;

macro_rules! host_fns { ($($A:ident),*) => {
    impl<F, R, $($A),*> HostFn<(Plain, R, $($A,)*)> for F
    where
        F: Fn($($A),*) -> HostResult<R> + Send + Sync + 'static,
        R: Serialize,
        $($A: FromCall,)*
    {
        fn erase(self) -> Arc<dyn HostCall> {
            shape(move |args: &mut Args<'_>| {
                extract!(args, $($A),*);
                args.ready(self($($A),*))
            })
        }
    }

    impl<F, R, $($A),*> HostFn<(Suspending, R, $($A,)*)> for F
    where
        F: AsyncFn($($A),*) -> HostResult<R> + Send + Sync + 'static,
        R: Serialize,
        $($A: FromCall + 'static,)*
    {
        fn erase(self) -> Arc<dyn HostCall> {
            shape(move |args: &mut Args<'_>| {
                extract!(args, $($A),*);
                // SAFETY: this closure is the host function that is called, and holds `self`.
                let this = unsafe { args.hold(&self) };
                args.pending(async move { encode(&(*this)($($A),*).await?) })
            })
        }
    }

    impl<F, R, $($A),*> BlockingFn<(Blocking, R, $($A,)*)> for F
    where
        F: Fn($($A),*) -> HostResult<R> + Send + Sync + 'static,
        R: Serialize + Send + 'static,
        $($A: FromCall + Send + 'static,)*
    {
        fn erase(self) -> Arc<dyn HostCall> {
            let this = Arc::new(self);
            shape(move |args: &mut Args<'_>| {
                extract!(args, $($A),*);
                let this = this.clone();
                args.pending(async move { encode(&blocking::unblock(move || (*this)($($A),*)).await?) })
            })
        }
    }
}}

host_fns!();
host_fns!(A);
host_fns!(A, B);
host_fns!(A, B, C);
host_fns!(A, B, C, D);
host_fns!(A, B, C, D, E);
host_fns!(A, B, C, D, E, G);
host_fns!(A, B, C, D, E, G, H);
host_fns!(A, B, C, D, E, G, H, I);
