//! `getaddrinfo` on the thread pool.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use libc::{EAI_SYSTEM, addrinfo};

use crate::error::HostResult;
use crate::host::args::Args;

/// A question, in memory of its own: the fiber may be cancelled, and its stack gone, before it is answered.
pub struct Query {
    node: Option<CString>,
    service: Option<CString>,
    hints: Option<Hints>,
}

/// The four fields that may be set.
#[derive(Clone, Copy)]
struct Hints {
    flags: i32,
    family: i32,
    kind: i32,
    protocol: i32,
}

impl Query {
    /// Copies the arguments: the addresses of node, service and hints.
    ///
    /// # Safety
    ///
    /// They are what `getaddrinfo` may be called with.
    pub unsafe fn copy(args: &mut Args<'_>) -> HostResult<Query> {
        let mut next = || args.take::<i64>().map(|address| address as usize);
        let (node, service, hints) = (next()?, next()?, next()?);
        // SAFETY: null, or a terminated string (the caller's contract).
        let text =
            |address: usize| (address != 0).then(|| unsafe { CStr::from_ptr(address as *const c_char) }.to_owned());
        // SAFETY: null, or an addrinfo (the caller's contract).
        let hints = unsafe { (hints as *const addrinfo).as_ref() }.map(|hints| Hints {
            flags: hints.ai_flags,
            family: hints.ai_family,
            kind: hints.ai_socktype,
            protocol: hints.ai_protocol,
        });
        Ok(Query { node: text(node), service: text(service), hints })
    }

    /// Its result code, and then the list's address, or errno where the code is `EAI_SYSTEM`.
    pub async fn answer(self) -> (i32, i64) {
        let (code, errno, list) = blocking::unblock(move || self.ask()).await;
        match code {
            0 => (0, list.give() as i64),
            _ => (code, i64::from(errno)),
        }
    }

    fn ask(&self) -> (i32, i32, List) {
        let mut hints = addrinfo {
            ai_flags: 0,
            ai_family: 0,
            ai_socktype: 0,
            ai_protocol: 0,
            ai_addrlen: 0,
            ai_addr: ptr::null_mut(),
            ai_canonname: ptr::null_mut(),
            ai_next: ptr::null_mut(),
        };
        if let Some(given) = self.hints {
            (hints.ai_flags, hints.ai_family) = (given.flags, given.family);
            (hints.ai_socktype, hints.ai_protocol) = (given.kind, given.protocol);
        }
        let text = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        let hints = if self.hints.is_some() { &raw const hints } else { ptr::null() };
        let mut list = ptr::null_mut();
        // SAFETY: strings and hints of our own, alive during the call. No fiber is current on a pool's thread, so that the
        // call passes the hook.
        let code = unsafe { libc::getaddrinfo(text(&self.node), text(&self.service), hints, &raw mut list) };
        let errno = std::io::Error::last_os_error().raw_os_error().filter(|_| code == EAI_SYSTEM).unwrap_or(0);
        (code, errno, List(if code == 0 { list } else { ptr::null_mut() }))
    }
}

/// A list that is freed if nobody takes it.
struct List(*mut addrinfo);

// SAFETY: it belongs to nobody else, and freeing it is not bound to a thread.
unsafe impl Send for List {}

impl List {
    fn give(self) -> *mut addrinfo {
        let list = self.0;
        std::mem::forget(self);
        list
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: `getaddrinfo` made it, and nobody has it.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}
