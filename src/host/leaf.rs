//! Leaves: host functions that run on the fiber's stack, right where the guest calls them.
//!
//! A crossing costs what it does because host code may do anything: panic, wait, call C. A leaf promises not to, and takes and
//! gives plain numbers only. Its thunk is called by the guest's shim (`csrc/leaf.h`) with nothing in between but the in-host
//! flag. Where arguments are of other kinds, or no fiber's stack is current, the shim makes an ordinary host call of the same
//! function, which converts them or says what is wrong with them.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use serde::Serialize;

use super::args::{Args, FromCall};
use super::function::{HostCall, extract, shape};
use crate::abi::{SS_BOOL, SS_FLOAT, SS_INT, SS_NO_LEAF, ss_leaf, ss_value, ss_value__bindgen_ty_1 as Payload};

/// What a leaf takes: integers, floats and `bool`.
///
/// Sealed: the list is complete.
pub trait Scalar: Copy + FromCall + sealed::Scalar {}

/// What a leaf gives: as [`Scalar`], or `()` for nothing.
///
/// Sealed: the list is complete.
pub trait ScalarResult: Serialize + sealed::ScalarResult {}

/// Closures and functions that can be leaves: up to four integers, floats or `bool`s in, one of those or `()` out.
#[diagnostic::on_unimplemented(
    message = "this closure cannot be a leaf",
    note = "its arguments must be integers, floats or `bool`, at most four; so must its result, or be `()`"
)]
pub trait LeafFn<M>: Send + Sync + 'static {
    /// Erases the type.
    #[doc(hidden)]
    fn erase(self) -> Leaf;
}

/// A leaf with its type erased, and the ordinary host function that it is elsewhere.
#[derive(Clone)]
#[doc(hidden)]
pub struct Leaf {
    pub(crate) call: Arc<dyn HostCall>,
    pub(crate) thunk: Thunk,
}

/// What the shim calls. `data` lies in what the leaf's ordinary call holds.
#[derive(Clone, Copy)]
pub(crate) struct Thunk(pub ss_leaf);

// SAFETY: the data is a closure that is `Send` and `Sync`; the rest is code.
unsafe impl Send for Thunk {}
// SAFETY: as above.
unsafe impl Sync for Thunk {}

impl Thunk {
    /// Of a function that is no leaf.
    pub const NONE: Thunk = Thunk(ss_leaf { run: None, data: std::ptr::null() });
}

mod sealed {
    use crate::abi::ss_value;

    pub trait Scalar: Sized {
        /// The value, if the entry holds just that.
        fn read(entry: &ss_value) -> Option<Self>;
    }

    pub trait ScalarResult {
        /// Writes it; how many results it is.
        fn write(self, to: &mut ss_value) -> i32;
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Scalar for $integer {}
        impl ScalarResult for $integer {}

        impl sealed::Scalar for $integer {
            #[inline]
            fn read(entry: &ss_value) -> Option<Self> {
                // SAFETY: the tag says that the payload is an integer.
                (entry.tag == SS_INT).then(|| <$integer>::try_from(unsafe { entry.as_.integer }).ok()).flatten()
            }
        }

        impl sealed::ScalarResult for $integer {
            #[inline]
            fn write(self, to: &mut ss_value) -> i32 {
                *to = ss_value { tag: SS_INT, len: 0, as_: Payload { integer: self.into() } };
                1
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32);

macro_rules! floats {
    ($($float:ty),*) => {$(
        impl Scalar for $float {}
        impl ScalarResult for $float {}

        impl sealed::Scalar for $float {
            #[inline]
            fn read(entry: &ss_value) -> Option<Self> {
                // SAFETY: the tag says that the payload is a float.
                (entry.tag == SS_FLOAT).then(|| unsafe { entry.as_.number } as $float)
            }
        }

        impl sealed::ScalarResult for $float {
            #[inline]
            fn write(self, to: &mut ss_value) -> i32 {
                *to = ss_value { tag: SS_FLOAT, len: 0, as_: Payload { number: self.into() } };
                1
            }
        }
    )*};
}

floats!(f32, f64);

impl Scalar for bool {}
impl ScalarResult for bool {}

impl sealed::Scalar for bool {
    #[inline]
    fn read(entry: &ss_value) -> Option<Self> {
        if entry.tag != SS_BOOL {
            return None;
        }
        // SAFETY: the tag says that the payload is 0 or 1.
        Some(unsafe { entry.as_.integer } != 0)
    }
}

impl sealed::ScalarResult for bool {
    #[inline]
    fn write(self, to: &mut ss_value) -> i32 {
        *to = ss_value { tag: SS_BOOL, len: 0, as_: Payload { integer: self.into() } };
        1
    }
}

impl ScalarResult for () {}

impl sealed::ScalarResult for () {
    #[inline]
    fn write(self, _: &mut ss_value) -> i32 {
        0
    }
}

macro_rules! leaf_fns { ($count:literal $(, $A:ident)*) => {
    impl<F, R, $($A),*> LeafFn<(R, $($A,)*)> for F
    where
        F: Fn($($A),*) -> R + Send + Sync + 'static,
        R: ScalarResult + 'static,
        $($A: Scalar + 'static,)*
    {
        fn erase(self) -> Leaf {
            /// A panic cannot leave it: it ends the process, with its message.
            ///
            /// # Safety
            ///
            /// `data` is an `F`; `args` are so many values, and `result` is a place for one.
            #[allow(non_snake_case, unused_variables, unused_mut, reason = "a type parameter names its value; there may be none")]
            unsafe extern "C" fn thunk<F, R, $($A),*>(
                data: *const c_void,
                args: *const ss_value,
                nargs: u32,
                result: *mut ss_value,
            ) -> c_int
            where
                F: Fn($($A),*) -> R,
                R: ScalarResult,
                $($A: Scalar,)*
            {
                if nargs != $count {
                    return SS_NO_LEAF;
                }
                // SAFETY: the caller's contract; there are as many arguments as are read.
                unsafe {
                    let mut at = (0..).map(|i| &*args.add(i));
                    $(
                        let Some($A) = at.next().and_then(<$A as sealed::Scalar>::read) else { return SS_NO_LEAF };
                    )*
                    let leaf = &*data.cast::<F>();
                    sealed::ScalarResult::write(leaf($($A),*), &mut *result)
                }
            }
            let leaf = Arc::new(self);
            let thunk = ss_leaf { run: Some(thunk::<F, R, $($A),*>), data: Arc::as_ptr(&leaf).cast() };
            let call = shape(move |args: &mut Args<'_>| {
                extract!(args, $($A),*);
                args.ready(Ok(leaf($($A),*)))
            });
            Leaf { call, thunk: Thunk(thunk) }
        }
    }
}}

leaf_fns!(0);
leaf_fns!(1, A);
leaf_fns!(2, A, B);
leaf_fns!(3, A, B, C);
leaf_fns!(4, A, B, C, D);
