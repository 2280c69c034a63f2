//! C functions of scalars: arguments are converted on the thread's stack, before the fiber starts; on the fiber's stack there
//! is only a thunk that loads them and calls.

use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::transmute;

use serde::de::DeserializeOwned;

use crate::abi::{
    SS_BOOL, SS_FLOAT, SS_INT, SS_NIL, SS_STRING, sidestack_payload, ss_native_thunk, ss_value,
    ss_value__bindgen_ty_1 as Payload,
};
use crate::guest::Values;
use crate::value::{Bytes, Run};

/// A C function pointer of up to eight [`Scalar`]s that returns a [`ScalarResult`]: `extern "C" fn(i64, f64) -> f64`, or the same
/// with `unsafe`.
pub trait Entry<M>: Copy + Send + Sync + 'static {
    #[doc(hidden)]
    fn typed(self) -> Typed;
}

/// A function with its type erased.
#[derive(Clone, Copy)]
pub struct Typed {
    pub(super) function: *const c_void,
    pub(super) thunk: Thunk,
    pub(super) convert: fn(&mut Arguments<'_>) -> Result<(), String>,
}

type Thunk = unsafe extern "C" fn(*const c_void, *const sidestack_payload, *mut ss_value);
const _: Option<Thunk> = None::<Thunk>;
const _: fn(Thunk) -> ss_native_thunk = Some;

/// The arguments of a call, on their way into slots.
pub struct Arguments<'a> {
    run: Run<'a>,
    taken: u32,
    slots: &'a mut Vec<sidestack_payload>,
    strings: &'a mut Vec<CString>,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(args: &Values, slots: &'a mut Vec<sidestack_payload>, strings: &'a mut Vec<CString>) -> Self {
        slots.clear();
        strings.clear();
        // SAFETY: a job's own run (`Task`), which nobody else uses while the fiber is prepared.
        let run = unsafe { Run::new(args.first.cast_mut(), args.count) };
        Arguments { run, taken: 0, slots, strings }
    }

    fn take<T: Scalar>(&mut self) -> Result<(), String> {
        self.taken += 1;
        let place = |e: &dyn std::fmt::Display| format!("argument {}: {e}", self.taken);
        let value = self.run.next::<T::From>(&mut ()).map_err(|e| place(&e))?;
        let slot = T::put(value, self.strings).map_err(|e| place(&e))?;
        self.slots.push(slot);
        Ok(())
    }

    /// An error if there are more arguments than parameters.
    pub(super) fn none_left(&self) -> Result<(), String> {
        match self.run.left() {
            0 => Ok(()),
            more => Err(format!("it takes {} arguments, not {}", self.taken, self.taken + more)),
        }
    }
}

/// What a C function of [`Native::entry`](super::Native::entry) can take.
pub trait Scalar: Copy + sealed::Sealed + 'static {
    #[doc(hidden)]
    type From: DeserializeOwned;
    #[doc(hidden)]
    fn put(from: Self::From, strings: &mut Vec<CString>) -> Result<sidestack_payload, String>;
    /// # Safety
    ///
    /// `put` made the slot.
    #[doc(hidden)]
    unsafe fn load(slot: &sidestack_payload) -> Self;
}

/// What a C function of [`Native::entry`](super::Native::entry) can return.
pub trait ScalarResult: sealed::Sealed + 'static {
    /// # Safety
    ///
    /// Text is null or terminated, and valid for as long as the value is used.
    #[doc(hidden)]
    unsafe fn give(self) -> ss_value;
}

mod sealed {
    pub trait Sealed {}
}

const fn value(tag: u32, len: u32, as_: Payload) -> ss_value {
    ss_value { tag, len, as_ }
}

macro_rules! integers { ($($T:ty),*) => {$(
    impl sealed::Sealed for $T {}

    impl Scalar for $T {
        type From = $T;
        fn put(from: $T, _: &mut Vec<CString>) -> Result<sidestack_payload, String> {
            Ok(sidestack_payload { integer: from as i64 })
        }
        unsafe fn load(slot: &sidestack_payload) -> $T {
            // SAFETY: `put` wrote an integer of this type.
            unsafe { slot.integer as $T }
        }
    }

    impl ScalarResult for $T {
        #[inline]
        unsafe fn give(self) -> ss_value {
            match i64::try_from(self) {
                Ok(integer) => value(SS_INT, 0, Payload { integer }),
                // As scripts have them: past the integers come floats.
                Err(_) => value(SS_FLOAT, 0, Payload { number: self as f64 }),
            }
        }
    }
)*}}

integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

macro_rules! floats { ($($T:ty),*) => {$(
    impl sealed::Sealed for $T {}

    impl Scalar for $T {
        type From = $T;
        fn put(from: $T, _: &mut Vec<CString>) -> Result<sidestack_payload, String> {
            Ok(sidestack_payload { number: f64::from(from) })
        }
        unsafe fn load(slot: &sidestack_payload) -> $T {
            // SAFETY: `put` wrote a number.
            unsafe { slot.number as $T }
        }
    }

    impl ScalarResult for $T {
        #[inline]
        unsafe fn give(self) -> ss_value {
            value(SS_FLOAT, 0, Payload { number: f64::from(self) })
        }
    }
)*}}

floats!(f32, f64);

impl sealed::Sealed for bool {}

impl Scalar for bool {
    type From = bool;
    fn put(from: bool, _: &mut Vec<CString>) -> Result<sidestack_payload, String> {
        Ok(sidestack_payload { integer: i64::from(from) })
    }
    unsafe fn load(slot: &sidestack_payload) -> bool {
        // SAFETY: `put` wrote an integer.
        unsafe { slot.integer != 0 }
    }
}

impl ScalarResult for bool {
    #[inline]
    unsafe fn give(self) -> ss_value {
        value(SS_BOOL, 0, Payload { integer: i64::from(self) })
    }
}

impl sealed::Sealed for *const c_char {}

impl Scalar for *const c_char {
    type From = Option<Bytes>;
    fn put(from: Option<Bytes>, strings: &mut Vec<CString>) -> Result<sidestack_payload, String> {
        let Some(text) = from else { return Ok(sidestack_payload { bytes: std::ptr::null() }) };
        let text = CString::new(text.to_vec()).map_err(|_| "text for C cannot hold a NUL".to_string())?;
        // Its buffer stays where it is when the vector grows.
        let bytes = text.as_ptr();
        strings.push(text);
        Ok(sidestack_payload { bytes })
    }
    unsafe fn load(slot: &sidestack_payload) -> *const c_char {
        // SAFETY: `put` wrote a pointer.
        unsafe { slot.bytes }
    }
}

impl ScalarResult for *const c_char {
    #[inline]
    unsafe fn give(self) -> ss_value {
        if self.is_null() {
            return value(SS_NIL, 0, Payload { integer: 0 });
        }
        // SAFETY: who adds such a function vouches for what it returns (`Native::entry`).
        let len = unsafe { CStr::from_ptr(self) }.count_bytes();
        value(SS_STRING, u32::try_from(len).unwrap_or(u32::MAX), Payload { bytes: self })
    }
}

impl sealed::Sealed for () {}

impl ScalarResult for () {
    #[inline]
    unsafe fn give(self) -> ss_value {
        value(SS_NIL, 0, Payload { integer: 0 })
    }
}

macro_rules! entries { ($($A:ident $at:literal),*) => {
    entries!(extern "C" fn($($A),*) -> R; $($A $at),*);
    entries!(unsafe extern "C" fn($($A),*) -> R; $($A $at),*);
}; ($F:ty; $($A:ident $at:literal),*) => {
    impl<R: ScalarResult, $($A: Scalar),*> Entry<(R, $($A,)*)> for $F {
        fn typed(self) -> Typed {
            /// "C-unwind", and owning nothing: a C++ exception passes to the barrier behind it (csrc/barrier.c).
            unsafe extern "C-unwind" fn thunk<R: ScalarResult, $($A: Scalar),*>(
                function: *const c_void,
                _slots: *const sidestack_payload,
                result: *mut ss_value,
            ) {
                // SAFETY: `typed` put a function of this type there, and `convert` filled as many slots.
                unsafe {
                    let function: unsafe extern "C-unwind" fn($($A),*) -> R = transmute(function);
                    *result = function($($A::load(&*_slots.add($at))),*).give();
                }
            }
            // SAFETY: the types differ only in whether a foreign exception may pass.
            let thunk = unsafe {
                transmute::<unsafe extern "C-unwind" fn(*const c_void, *const sidestack_payload, *mut ss_value), Thunk>(
                    thunk::<R, $($A),*>,
                )
            };
            Typed {
                function: self as *const c_void,
                thunk,
                convert: |_arguments| {
                    $(_arguments.take::<$A>()?;)*
                    Ok(())
                },
            }
        }
    }
}}

entries!();
entries!(A 0);
entries!(A 0, B 1);
entries!(A 0, B 1, C 2);
entries!(A 0, B 1, C 2, D 3);
entries!(A 0, B 1, C 2, D 3, E 4);
entries!(A 0, B 1, C 2, D 3, E 4, F 5);
entries!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
entries!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
