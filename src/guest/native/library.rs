//! Shared libraries opened at run time.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// A shared library, opened; its functions by name.
///
/// It is never closed: fibers may be in its code, and C libraries rarely survive being unloaded. One that calls the C API finds it
/// in the program only if that exports its symbols (`-rdynamic`: `cargo:rustc-link-arg=-rdynamic` in a build script), and
/// otherwise fails to open, naming the symbol.
#[derive(Clone)]
pub struct Library {
    path: PathBuf,
    raw: std::sync::Arc<std::mem::ManuallyDrop<libloading::Library>>,
}

impl Library {
    /// Opens a library. Open those in C++ before the engine is built.
    ///
    /// # Safety
    ///
    /// Its initialisers run.
    pub unsafe fn open(path: impl AsRef<OsStr>) -> Result<Library, Error> {
        let path = path.as_ref();
        // SAFETY: the caller's promise.
        let raw = unsafe { libloading::Library::new(path) }.map_err(|e| failed(path.as_ref(), &e))?;
        Ok(Library { path: path.into(), raw: std::sync::Arc::new(std::mem::ManuallyDrop::new(raw)) })
    }

    /// A function of the library: `library.get::<extern "C" fn(i64) -> i64>("twice")`.
    ///
    /// # Safety
    ///
    /// There is a function of this name, and `F` is its type.
    pub unsafe fn get<F: FunctionPointer>(&self, name: &str) -> Result<F, Error> {
        // SAFETY: the caller's promise; a function pointer may be copied since the library is never closed.
        unsafe { self.raw.get::<F>(name.as_bytes()) }.map(|found| *found).map_err(|e| failed(&self.path, &e))
    }
}

fn failed(path: &Path, error: &libloading::Error) -> Error {
    // The loader's own words are the source.
    let told = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Error::System { what: format!("library {}", path.display()), source: io::Error::other(told) }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Library({})", self.path.display())
    }
}

/// Types of C function pointers.
pub trait FunctionPointer: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! pointers { ($($A:ident),*) => {
    impl<R, $($A),*> sealed::Sealed for unsafe extern "C" fn($($A),*) -> R {}
    impl<R, $($A),*> FunctionPointer for unsafe extern "C" fn($($A),*) -> R {}
    impl<R, $($A),*> sealed::Sealed for extern "C" fn($($A),*) -> R {}
    impl<R, $($A),*> FunctionPointer for extern "C" fn($($A),*) -> R {}
}}

pointers!();
pointers!(A);
pointers!(A, B);
pointers!(A, B, C);
pointers!(A, B, C, D);
pointers!(A, B, C, D, E);
pointers!(A, B, C, D, E, F);
pointers!(A, B, C, D, E, F, G);
pointers!(A, B, C, D, E, F, G, H);
