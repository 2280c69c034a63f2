//! Host calls from threads that are no interpreter's: each runs as a fiber of the interpreter that the thread is attached to,
//! and the thread blocks until it has ended.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::Arc;

use super::fence::{Panicked, fence};
use crate::Error;
use crate::abi::{
    SIDESTACK_CANCELLED, SIDESTACK_ERROR, SIDESTACK_NOT_FOUND, SIDESTACK_OK, SIDESTACK_REFUSED, SS_CLAIMED,
    SS_FUNCTION, sidestack_host, sidestack_results, sidestack_results_set, ss_api_error, ss_value,
};
use crate::call::Call;
use crate::call::inbox::{Inbox, Outside};
use crate::call::job::{Target, Work};
use crate::call::reference::Reference;
use crate::host::Rest;
use crate::host::c_api::{FOREIGN, LastError};
use crate::host::local::Local;
use crate::host::registry::Registry;
use crate::value::{Flat, Many, Resolver, Value};

/// The interpreter that a thread may call: `sidestack_host`.
pub struct Host {
    inbox: Arc<Inbox>,
    incarnation: u32,
    registry: Arc<Registry>,
    /// As long as C has it, a thread may call.
    _outside: Outside,
}

impl Host {
    /// The interpreter of this thread.
    pub fn of(local: &Local) -> Host {
        Host {
            inbox: local.inbox.clone(),
            incarnation: local.incarnation,
            registry: local.registry.clone(),
            _outside: Outside::new(&local.inbox),
        }
    }

    /// For C to keep, until `ss_foreign_host_free`.
    pub fn into_raw(self) -> *mut sidestack_host {
        Arc::into_raw(Arc::new(self)).cast_mut().cast()
    }
}

thread_local! {
    /// What the thread is attached to; given back when it ends.
    static ATTACHED: RefCell<Option<Arc<Host>>> = const { RefCell::new(None) };
    /// Where no fiber runs: what failed last. (Boxed: a C library's thread-local storage is small.)
    static ERROR: RefCell<Option<Box<LastError>>> = const { RefCell::new(None) };
}

/// The refusals and failures of a call that never reached a host function.
struct Failed(u32, String, String);

fn refused(code: &str, message: &str) -> Failed {
    Failed(SIDESTACK_REFUSED, code.into(), message.into())
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        let status = match error {
            Error::Cancelled => SIDESTACK_CANCELLED,
            Error::Refused { .. } => SIDESTACK_REFUSED,
            _ => SIDESTACK_ERROR,
        };
        Failed(status, error.code().unwrap_or_default().into(), error.to_string())
    }
}

/// Runs `work` behind the fence; its failure becomes the thread's last error.
fn told(work: impl FnOnce() -> Result<(), Failed>) -> c_int {
    let result = fence(work).unwrap_or_else(|Panicked(message)| Err(Failed(SIDESTACK_ERROR, "panic".into(), message)));
    match result {
        Ok(()) => SIDESTACK_OK as c_int,
        Err(Failed(status, code, message)) => failed(status, &code, &message),
    }
}

/// Makes this the last error of the thread; returns the status.
pub(super) fn failed(status: u32, code: &str, message: &str) -> c_int {
    let text = |text: &str| CString::new(text.replace('\0', "")).unwrap_or_default();
    let (code, message) = (text(code), text(message));
    // SAFETY: two terminated strings, which it copies.
    unsafe { ss_api_error(status as c_int, code.as_ptr(), message.as_ptr()) }
}

fn attached() -> Result<Arc<Host>, Failed> {
    let attached = ATTACHED.try_with(|attached| attached.borrow().clone()).ok().flatten();
    attached.ok_or_else(|| refused("no_fiber", "no fiber runs on this thread, and it is not attached to a host"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_foreign_error_set(error: *const ss_value) {
    // SAFETY: four values (csrc/api.h).
    let error = Box::new(unsafe { LastError::read(error) });
    // A thread that is ending keeps none.
    let _ = ERROR.try_with(|last| last.replace(Some(error)));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_foreign_error_get(error: *mut ss_value) {
    // SAFETY: room for four values (csrc/api.h); the thread keeps the error until the next one.
    let write = |last: Option<&LastError>| unsafe { LastError::write(last, error) };
    if ERROR.try_with(|last| write(last.borrow().as_deref())).is_err() {
        write(None);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_foreign_host_free(host: *mut sidestack_host) {
    // SAFETY: what `into_raw` gave, once (csrc/sidestack.h).
    drop(unsafe { Arc::from_raw(host.cast_const().cast::<Host>()) });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_foreign_attach(host: *const sidestack_host) -> c_int {
    // SAFETY: what `into_raw` gave, and not freed; the count is raised for the clone that this thread keeps.
    let host = unsafe {
        Arc::increment_strong_count(host.cast::<Host>());
        Arc::from_raw(host.cast::<Host>())
    };
    told(|| {
        let former = ATTACHED.try_with(|attached| attached.borrow_mut().replace(host));
        former.map(drop).map_err(|_| refused("no_fiber", "the thread is ending"))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_foreign_detach() -> c_int {
    told(|| match ATTACHED.try_with(|attached| attached.borrow_mut().take()) {
        Ok(Some(_)) => Ok(()),
        _ => Err(refused("no_fiber", "the thread is not attached to a host")),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_foreign_function_id(name: *const c_char, id: *mut u32) -> c_int {
    told(|| {
        // SAFETY: a terminated string (csrc/sidestack.h).
        let name = unsafe { CStr::from_ptr(name) };
        let found = name.to_str().ok().zip(Some(attached()?)).and_then(|(name, host)| host.registry.id(name));
        let missing =
            || Failed(SIDESTACK_NOT_FOUND, "not_found".into(), "there is no host function of this name".into());
        // SAFETY: the caller's place.
        unsafe { *id = found.ok_or_else(missing)? };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_foreign_call(
    id: u32,
    args: *mut ss_value,
    nargs: u32,
    results: *mut sidestack_results,
) -> c_int {
    told(|| {
        let host = attached()?;
        let mut flat = Flat::new();
        flat.push(&id).expect("a number can be encoded");
        // SAFETY: the caller's run (csrc/sidestack.h).
        let copied = unsafe { flat.copy_run(args, nargs, &mut Bound(&host)) };
        copied.map_err(|e| refused("not_for_threads", &e.to_string()))?;
        let work = move |_| Work::Export { script: 0, name: FOREIGN.into(), args: flat };
        let call = Call::<Many<Value>>::new(Target::Bound(host.inbox.clone()), "a host call", (), work);
        let Many(values) = call.blocking()?;
        let mut flat = Flat::new();
        flat.push_args(&Rest(values)).map_err(|e| Failed(SIDESTACK_ERROR, "convert".into(), e.to_string()))?;
        if flat.has_attachments() {
            return Err(refused("not_for_threads", "the result holds a function or an object of the interpreter's"));
        }
        if results.is_null() {
            return Ok(());
        }
        let (values, count) = flat.as_raw();
        // SAFETY: the caller's results; the run is whole and copied.
        match unsafe { sidestack_results_set(results, values, count) } as u32 {
            SIDESTACK_OK => Ok(()),
            status => Err(Failed(status, "memory".into(), "not enough memory for results".into())),
        }
    })
}

/// Callbacks may travel from a foreign thread to the interpreter that they belong to; nothing else may that is not data.
struct Bound<'a>(&'a Host);

impl Resolver for Bound<'_> {
    fn object(&mut self, _key: u64, _class: u32) -> Result<Arc<dyn Any + Send + Sync>, String> {
        Err("an object stays on its interpreter's thread".into())
    }

    fn guest(&mut self, entry: &mut ss_value) -> Result<Arc<dyn Any + Send + Sync>, String> {
        if entry.tag & !SS_CLAIMED != SS_FUNCTION {
            return Err("a reference stays on its interpreter's thread".into());
        }
        entry.tag |= SS_CLAIMED;
        let Host { inbox, incarnation, .. } = self.0;
        // SAFETY: an entry with this tag holds a key (csrc/value.h).
        let slot = unsafe { entry.as_.key };
        Ok(Arc::new(Reference::new(inbox, *incarnation, slot, true, false)))
    }
}
