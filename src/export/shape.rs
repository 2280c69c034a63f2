//! What the attribute's expansion calls. Everything that it does unsafely is here, or is one call of what is here:
//!
//! - The C symbol is a thin frame on C's stack. It owns its C arguments, which are copied bits, and room for a result
//!   ([`assert_thin`]); it calls [`call`] and returns. A stack that is abandoned, or left by a longjmp, skips nothing of Rust's.
//! - `start` runs on the thread's stack, behind the fence. It makes Rust's arguments inside the call's own scope: what
//!   C lent cannot outlive the call. The result is written into the symbol's frame when the call succeeds: the frame is there,
//!   because C cannot leave it while its call is in the set of host calls, and what leaves the set has no future any more.

use std::ffi::{CStr, c_void};
use std::future::Future;
use std::mem::needs_drop;
use std::rc::Rc;
use std::sync::Arc;

use crate::abi::{SIDESTACK_REFUSED, SS_OK, ss_api_error, ss_export_call};
use crate::error::{HostResult, Raise, refused};
use crate::handle::HandleError;
use crate::host::args::Args;
use crate::host::exported::Export;
use crate::host::function::Started;
use crate::host::future::HostFuture;
use crate::host::local::Local;
use crate::host::{FromCall, HostObject, Object};

use super::types::{Arg, Fallible, Ret, Scope};

/// Checks when compiled that the symbol's frame owns nothing.
pub const fn assert_thin<A, R>() {
    const { assert!(!needs_drop::<A>() && !needs_drop::<R>(), "a C stack must own nothing of Rust's") };
}

/// Checks that a type passes between C and a leaf as it is.
pub const fn assert_leaf_parameter<T: Arg<'static, Raw = T>>() {}

/// As [`assert_leaf_parameter`], for its result.
pub const fn assert_leaf_result<T: Ret<Raw = T>>() {}

/// In the place of `start` for a leaf, which nobody starts.
///
/// # Safety
///
/// None: it is never called.
pub unsafe fn leaf_is_not_started(_: *const (), _: *mut (), _: Option<&mut Args<'_>>) -> Started {
    unreachable!("a leaf runs where it is called")
}

/// Crosses into the host. True: the result was written.
///
/// # Safety
///
/// `args` and `result` are what `export.start` takes; both lie in the frames of C code that waits for this call.
#[inline]
#[must_use]
pub unsafe fn call(export: &'static Export, args: *const c_void, result: *mut c_void) -> bool {
    // SAFETY: the caller's promise; csrc/export.h.
    unsafe { ss_export_call(std::ptr::from_ref(export).cast(), args, result) == SS_OK as i32 }
}

/// Whether the out parameter is null, which is a failure.
#[inline]
pub fn no_place<T>(out: *mut T, export: &'static Export) -> bool {
    if out.is_null() {
        let _ = export;
        const CODE: &CStr = c"null_argument";
        const { assert!(CODE.to_bytes().len() == refused::NULL_ARGUMENT.len()) };
        // SAFETY: two terminated strings, which it copies; it can be called anywhere.
        unsafe { ss_api_error(SIDESTACK_REFUSED as i32, CODE.as_ptr(), c"the out parameter is NULL".as_ptr()) };
    }
    out.is_null()
}

/// One argument.
///
/// # Safety
///
/// As [`Arg::from_raw`].
#[inline]
pub unsafe fn argument<'a, T: Arg<'a>>(raw: T::Raw, name: &'static str, scope: &'a Scope) -> HostResult<T> {
    // SAFETY: passed on.
    unsafe { T::from_raw(raw, name, scope) }
}

/// An argument that the interpreter gives.
#[inline]
pub fn extract<T: FromCall>(call: &mut Option<&mut Args<'_>>) -> HostResult<T> {
    let call = call.as_mut().expect("an interpreter is there: `attach` refuses extractors when compiled");
    Ok(T::from_call(call)?)
}

/// The host object behind a handle that C passed.
#[inline]
pub fn object<T: HostObject>(call: &Option<&mut Args<'_>>, handle: u64, name: &'static str) -> HostResult<Object<T>> {
    let found = home(call).0.handles.borrow().get_any(handle.into()).cloned();
    let error = match found.map(Arc::downcast::<T>) {
        Ok(Ok(object)) => return Ok(Object::new(object)),
        Ok(Err(_)) => HandleError::WrongType { expected: T::NAME },
        Err(error) => error,
    };
    Err(Raise::new(error.code(), format!("argument {name}: {error}")).into())
}

/// The interpreter that gives handles out.
pub struct Home(Rc<Local>);

/// The interpreter of this call.
#[inline]
pub fn home(call: &Option<&mut Args<'_>>) -> Home {
    Home(call.as_ref().expect("an interpreter is there: `attach` refuses handles when compiled").local().clone())
}

/// A host object for C: its handle.
pub fn plain_object<T: HostObject>(home: &Home, object: Object<T>) -> HostResult<u64> {
    let key = home.0.handles.borrow_mut().insert(object.into_inner());
    key.map(u64::from).map_err(|error| Raise::new("limit", error).into())
}

/// A host object for C, or an error.
pub fn fallible_object<T: HostObject, E: Into<anyhow::Error>>(
    home: &Home,
    outcome: Result<Object<T>, E>,
) -> HostResult<u64> {
    plain_object(home, outcome.map_err(Into::into)?)
}

/// A call that fails before it starts.
#[cold]
pub fn refused(error: anyhow::Error) -> Started {
    Started::Ready(Err(error))
}

/// A result that is no error.
#[inline]
pub fn plain<T: Ret>(value: T) -> HostResult<T::Raw> {
    Ok(value.into_raw())
}

/// A result that may be one.
#[inline]
pub fn fallible<T: Fallible>(outcome: T) -> HostResult<<T::Value as Ret>::Raw> {
    outcome.split().map(Ret::into_raw)
}

/// Runs a sync function.
///
/// # Safety
///
/// `result` may be written.
#[inline]
pub unsafe fn ready<R: Copy>(result: *mut R, run: impl FnOnce() -> HostResult<R>) -> Started {
    Started::Ready(match run() {
        Ok(value) => {
            // SAFETY: the caller's promise.
            unsafe { result.write(value) };
            Ok(None)
        }
        Err(error) => Err(error),
    })
}

/// Begins an async one.
///
/// # Safety
///
/// `result` may be written until the future is dropped.
#[inline]
pub unsafe fn suspending<R: Copy + 'static>(
    result: *mut R,
    future: impl Future<Output = HostResult<R>> + 'static,
) -> Started {
    Started::Pending(HostFuture::new(async move {
        let value = future.await?;
        // SAFETY: the caller's promise; this future is not dropped yet.
        unsafe { result.write(value) };
        Ok(None)
    }))
}
