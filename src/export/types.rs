//! The types that C and an exported function exchange.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;

use crate::error::{HostResult, Raise, refused};
pub use crate::host::exported::C;

/// A type that can stand in a C signature: behind a pointer, or as a parameter or the result of a callback.
///
/// Implement it for a struct of your own to take pointers to it: `C::Name("struct point")`.
///
/// # Safety
///
/// The C type has the layout of the Rust type (`repr(C)`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no C type here",
    note = "pointers point to numbers, `bool`, `c_void`, other pointers, or what implements `sidestack::export::CType`"
)]
pub unsafe trait CType {
    /// How it is written.
    const C: C;
}

/// The scope that arguments are borrowed for: one call.
#[derive(Debug)]
pub struct Scope(PhantomData<*mut ()>);

impl Scope {
    /// A scope.
    #[expect(clippy::new_without_default, reason = "made by the attribute's expansion only")]
    pub fn new() -> Scope {
        Scope(PhantomData)
    }
}

/// A type that a parameter of an exported function can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a function that C calls",
    label = "not a C parameter",
    note = "parameters are integers, floats, `bool`, `&CStr`, `&str`, `Option<&CStr>`, `Option<&str>`, `&[T]` and `&mut [T]` of numbers \
            (written so: they are two C parameters), raw pointers, `extern \"C\" fn` pointers with at most six \
            parameters, and `Option` of these",
    note = "and not C's: `Cx`, `State<T>`, `Ext<T>`"
)]
pub trait Arg<'a>: Sized {
    /// What C passes.
    type Raw: Copy;
    /// How that is written.
    const C: C;

    /// Takes what C passed.
    ///
    /// # Safety
    ///
    /// It is what the declaration in the header asks for, and stays so until the call is over.
    unsafe fn from_raw(raw: Self::Raw, name: &'static str, scope: &'a Scope) -> HostResult<Self>;
}

/// A type that an exported function can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a function that C calls",
    label = "not a C result",
    note = "results are `()`, integers, floats, `bool`, raw pointers, or a `Result` of one (by that name)"
)]
pub trait Ret {
    /// What C gets.
    type Raw: Copy;
    /// How that is written.
    const C: C;
    /// What C gets where nothing else is said and the call fails.
    const ZERO: Self::Raw;

    /// Turns it into that.
    fn into_raw(self) -> Self::Raw;
}

/// A `Result` that an exported function can return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a function that C calls",
    note = "a `Result` has an error that turns into `anyhow::Error`"
)]
pub trait Fallible {
    /// What it holds on success.
    type Value: Ret;

    /// The value or the error.
    fn split(self) -> HostResult<Self::Value>;
}

impl<T: Ret, E: Into<anyhow::Error>> Fallible for Result<T, E> {
    type Value = T;

    #[inline]
    fn split(self) -> HostResult<T> {
        self.map_err(Into::into)
    }
}

/// A number in an array.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the item of an array that C passes",
    note = "items are numbers"
)]
pub trait Item: CType + Copy {}

macro_rules! numbers {
    ($($type:ty, $name:literal;)*) => {$(
        impl Item for $type {}
        values!($type, C::Name($name), 0 as $type);
    )*};
}

macro_rules! values {
    ($type:ty, $c:expr, $zero:expr $(, $param:ident: $bound:path)*) => {
        // SAFETY: the C name is that of the type with this layout, on every platform of ours.
        unsafe impl<$($param: $bound),*> CType for $type {
            const C: C = $c;
        }
        impl<'a, $($param: $bound),*> Arg<'a> for $type {
            type Raw = Self;
            const C: C = $c;
            #[inline]
            unsafe fn from_raw(raw: Self, _: &'static str, _: &'a Scope) -> HostResult<Self> {
                Ok(raw)
            }
        }
        impl<$($param: $bound),*> Ret for $type {
            type Raw = Self;
            const C: C = $c;
            const ZERO: Self = $zero;
            #[inline]
            fn into_raw(self) -> Self {
                self
            }
        }
    };
}

numbers! {
    i8, "int8_t";
    u8, "uint8_t";
    i16, "int16_t";
    u16, "uint16_t";
    i32, "int32_t";
    u32, "uint32_t";
    i64, "int64_t";
    u64, "uint64_t";
    isize, "ptrdiff_t";
    usize, "size_t";
    f32, "float";
    f64, "double";
}
values!(bool, C::Name("bool"), false);
values!(*const T, C::Pointer { to: &<T as CType>::C, constant: true }, ptr::null(), T: CType);
values!(*mut T, C::Pointer { to: &<T as CType>::C, constant: false }, ptr::null_mut(), T: CType);

// SAFETY: nothing, and what nobody looks into.
unsafe impl CType for () {
    const C: C = C::Void;
}

// SAFETY: as above.
unsafe impl CType for c_void {
    const C: C = C::Void;
}

impl Ret for () {
    type Raw = ();
    const C: C = C::Void;
    const ZERO: () = ();
    #[inline]
    fn into_raw(self) {}
}

/// `char` has the layout of `int8_t`, and the header writes `char *` for pointers to it.
const TEXT: C = C::Pointer { to: &C::Name("int8_t"), constant: true };

impl<'a> Arg<'a> for Option<&'a CStr> {
    type Raw = *const c_char;
    const C: C = TEXT;
    #[inline]
    unsafe fn from_raw(raw: Self::Raw, _: &'static str, _: &'a Scope) -> HostResult<Self> {
        // SAFETY: null or a terminated string, by the declaration.
        Ok((!raw.is_null()).then(|| unsafe { CStr::from_ptr(raw) }))
    }
}

impl<'a> Arg<'a> for &'a CStr {
    type Raw = *const c_char;
    const C: C = TEXT;
    #[inline]
    unsafe fn from_raw(raw: Self::Raw, name: &'static str, scope: &'a Scope) -> HostResult<Self> {
        // SAFETY: passed on.
        let text: Option<Self> = unsafe { Arg::from_raw(raw, name, scope) }?;
        text.ok_or_else(|| null(name))
    }
}

impl<'a> Arg<'a> for Option<&'a str> {
    type Raw = *const c_char;
    const C: C = TEXT;
    #[inline]
    unsafe fn from_raw(raw: Self::Raw, name: &'static str, scope: &'a Scope) -> HostResult<Self> {
        // SAFETY: passed on.
        let text: Option<&'a CStr> = unsafe { Arg::from_raw(raw, name, scope) }?;
        let text = text.map(CStr::to_str).transpose();
        text.map_err(|e| Raise::new(refused::NOT_UTF8, format!("argument {name} is not UTF-8: {e}")).into())
    }
}

impl<'a> Arg<'a> for &'a str {
    type Raw = *const c_char;
    const C: C = TEXT;
    #[inline]
    unsafe fn from_raw(raw: Self::Raw, name: &'static str, scope: &'a Scope) -> HostResult<Self> {
        // SAFETY: passed on.
        let text: Option<Self> = unsafe { Arg::from_raw(raw, name, scope) }?;
        text.ok_or_else(|| null(name))
    }
}

/// An array: null only if it is empty.
///
/// # Safety
///
/// The pointer is null, or points to so many items, which nobody writes until the call is over.
#[inline]
pub unsafe fn slice<'a, T: Item>(
    pointer: *const T,
    len: usize,
    name: &'static str,
    _: &'a Scope,
) -> HostResult<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    placed(pointer, name)?;
    // SAFETY: it is not null and aligned; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// An array to write to: null only if it is empty.
///
/// # Safety
///
/// The pointer is null, or points to so many items, which nobody else uses until the call is over.
#[inline]
#[expect(clippy::mut_from_ref, reason = "the scope gives the lifetime only; the items are C's")]
pub unsafe fn slice_mut<'a, T: Item>(
    pointer: *mut T,
    len: usize,
    name: &'static str,
    _: &'a Scope,
) -> HostResult<&'a mut [T]> {
    if len == 0 {
        return Ok(&mut []);
    }
    placed(pointer, name)?;
    // SAFETY: it is not null and aligned; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

fn placed<T>(pointer: *const T, name: &str) -> HostResult<()> {
    if pointer.is_null() {
        return Err(null(name));
    }
    if !pointer.is_aligned() {
        return Err(Raise::new(refused::MISALIGNED, format!("argument {name} is not aligned")).into());
    }
    Ok(())
}

#[cold]
fn null(name: &str) -> anyhow::Error {
    Raise::new(refused::NULL_ARGUMENT, format!("argument {name} is NULL")).into()
}

/// Pointers to C functions, the safe and the unsafe kind, with and without `Option`.
macro_rules! callbacks {
    ($($param:ident)*) => {
        callbacks!(@kind (extern "C" fn($($param),*) -> R) $($param)*);
        callbacks!(@kind (unsafe extern "C" fn($($param),*) -> R) $($param)*);
    };
    (@kind ($type:ty) $($param:ident)*) => {
        // SAFETY: a function pointer of the same signature.
        unsafe impl<R: CType $(, $param: CType)*> CType for $type {
            const C: C = C::Function { result: &<R as CType>::C, parameters: &[$(<$param as CType>::C),*] };
        }
        // SAFETY: as above; `None` is null.
        unsafe impl<R: CType $(, $param: CType)*> CType for Option<$type> {
            const C: C = <$type as CType>::C;
        }
        impl<'a, R: CType $(, $param: CType)*> Arg<'a> for Option<$type> {
            type Raw = Self;
            const C: C = <$type as CType>::C;
            #[inline]
            unsafe fn from_raw(raw: Self, _: &'static str, _: &'a Scope) -> HostResult<Self> {
                Ok(raw)
            }
        }
        impl<'a, R: CType $(, $param: CType)*> Arg<'a> for $type {
            type Raw = Option<Self>;
            const C: C = <$type as CType>::C;
            #[inline]
            unsafe fn from_raw(raw: Option<Self>, name: &'static str, _: &'a Scope) -> HostResult<Self> {
                raw.ok_or_else(|| null(name))
            }
        }
    };
}

callbacks!();
callbacks!(P1);
callbacks!(P1 P2);
callbacks!(P1 P2 P3);
callbacks!(P1 P2 P3 P4);
callbacks!(P1 P2 P3 P4 P5);
callbacks!(P1 P2 P3 P4 P5 P6);
