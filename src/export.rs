//! Rust functions that C calls by their names.
//!
//! [`#[sidestack::export]`](macro@export) gives a Rust function, sync or async, a C symbol with a typed declaration. C that runs on a
//! fiber calls it as it calls any C function. Where an async one has to wait, that fiber waits, and nobody else.
//! [`header`] is the header with all declarations.

mod header;
mod shape;
mod types;

pub use header::header;
pub use types::{Arg, C, CType, Fallible, Item, Ret};

/// Exports a Rust function to C, under its own name.
///
/// ```
/// use std::ffi::CStr;
/// use std::time::Duration;
///
/// /// Waits, and tells how long the name is.
/// #[sidestack::export(on_error = -1)]
/// async fn slow_length(cx: sidestack::Cx, name: &CStr) -> anyhow::Result<i32> {
///     cx.sleep(Duration::from_millis(1)).await;
///     Ok(name.to_str()?.len().try_into()?)
/// }
///
/// assert!(sidestack::export::header().contains("int32_t slow_length(const char *name);"));
/// ```
///
/// # Parameters and results
///
/// Parameters: integers, floats, `bool`; `&CStr`, `&str` (a terminated string that has to be UTF-8) and `Option` of
/// them (`None` for `NULL`); `&[T]` and `&mut [T]` of numbers, which are a pointer and a length in C; raw pointers;
/// pointers to C functions (`extern "C" fn`); [`Object<T>`](crate::Object), for C a handle, `uint64_t`, that the interpreter
/// checks (`stale`, `forged`, `wrong_owner`, `wrong_kind`). What C lends is lent for the call, waiting included.
/// `NULL` where it is not expected and text that is not UTF-8 are failures that C is told of, not undefined behaviour.
/// [`Cx`](crate::Cx), [`State<T>`](crate::State) and [`Ext<T>`](crate::Ext) are no C parameters: the interpreter gives them.
///
/// Results: `()`, integers, floats, `bool`, raw pointers, `Object<T>`, which gives C a handle to release, or a `Result` of one
/// of these, written by that name.
///
/// # What C gets on an error
///
/// The function's own error, a panic, a cancel, and a refusal (below) all end the same way: C gets a value that says "failed",
/// and `sidestack_error_code()` and `sidestack_error_message()` say why. They belong to the fiber, or to the
/// thread if there is none, and last until its next failure.
///
/// | option | C gets |
/// | --- | --- |
/// | `on_error = VALUE` | the value. With `Result<()>`: a status, 0 or the value |
/// | `out` | a status, 0 or -1 (or `on_error`); the result goes to an out parameter, the last one |
/// | neither, only without `Result` | zero, `false`, `NULL` |
///
/// # Options
///
/// - `name = "c_name"`: another C name.
/// - `stack = thread` (the default): the function runs on its interpreter thread's own stack, like every host function.
///   `stack = fiber`: right where it is called, as cheap as C. For an `unsafe fn` that keeps the promise of a leaf: it never
///   waits, calls no C, owns nothing that has to be dropped, does not panic, and makes do with the stack that is left.
/// - `no_callback`: C that this function calls does not call the host. If it does, that call fails as
///   [`called_back`](crate::error::refused::CALLED_BACK).
/// - `foreign`: what happens when a thread calls that is no interpreter thread. `reject` (the default): it fails as
///   [`foreign_thread`](crate::error::refused::FOREIGN_THREAD). `owner`: a fiber of the engine that owns such calls
///   ([`Engine::own_foreign_calls`](crate::Engine::own_foreign_calls)) makes the call, the thread waits for it; what C passes
///   must be fit for another thread. `attach`: it runs on that thread, which an async one blocks; there is no interpreter, so no
///   `Cx` and no `sleep` of its own.
///
/// # Where it may wait
///
/// On a fiber, whatever C stack the call comes from. Where host code called the C that calls, an async function that has to wait
/// fails as [`cannot_suspend_on_thread`](crate::error::refused::ON_THREAD); one that is ready at once works. On an interpreter thread
/// without a fiber every call fails as `no_fiber`.
///
/// Unsafety: C vouches for what the declaration says of its arguments. Rust that calls a C function pointer vouches that it
/// returns normally: a longjmp out of it would skip Rust frames.
pub use sidestack_macros::export;

/// For the attribute's expansion only.
#[doc(hidden)]
pub mod __private {
    pub use super::shape::*;
    pub use super::types::*;
    pub use crate::host::args::Args as Call;
    pub use crate::host::exported::{EXPORTS, Export, Foreign, OnError, Parameter};
    pub use crate::host::function::Started;
    pub use linkme;
}
