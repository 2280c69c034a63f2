//! What one interpreter thread has of its own, as host functions reach it.

use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Instant;

use super::registry::Registry;
use super::timer::Timers;
use crate::Error;
use crate::abi::{SS_CLAIMED, SS_FUNCTION, SS_OBJECT, SS_REFERENCE, ss_value};
use crate::call::inbox::Inbox;
use crate::call::job::{Dispatch, Extensions};
use crate::call::reference::Reference;
use crate::handle::Table;
use crate::value::{Flat, Resolver};

/// See the module. Lives in an `Rc`: it never leaves its thread.
pub struct Local {
    /// The host functions.
    pub registry: Arc<Registry>,
    /// Values given to the builder.
    pub states: Arc<Extensions>,
    /// This interpreter's own way in.
    pub inbox: Arc<Inbox>,
    /// This incarnation.
    pub incarnation: u32,
    /// Host objects that the guest holds.
    pub handles: RefCell<Table>,
    /// Waits without an async runtime.
    pub timers: RefCell<Timers>,
    /// Fibers that wait for a module that another one loads.
    pub loading: RefCell<Vec<Waker>>,
    /// The engine, for calls that host functions make.
    pub dispatch: Weak<dyn Dispatch>,
    /// What the watchdog reads.
    pub activity: Arc<Activity>,
    /// For deadlines that ticks compare.
    pub clock: Clock,
    /// Whether guest code is in a finalizer now.
    pub in_finalizer: Box<dyn Fn() -> bool>,
}

impl Local {
    /// A module has been loaded, or not: who waits for one looks again.
    pub fn module_done(&self) {
        let waiting = std::mem::take(&mut *self.loading.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Turns handles and slots back into what they stand for.
    #[inline]
    pub fn resolver(&self) -> LocalResolver<'_> {
        LocalResolver(self)
    }

    /// Gives the attachments of a run that goes to the guest their handles and slots.
    #[inline]
    pub fn bind(&self, flat: &mut Flat) -> Result<(), Error> {
        if flat.has_attachments() { self.bind_attachments(flat) } else { Ok(()) }
    }

    fn bind_attachments(&self, flat: &mut Flat) -> Result<(), Error> {
        flat.bind(|attachment, entry| {
            if let Some(reference) = attachment.downcast_ref::<Reference>() {
                entry.as_.key = reference.slot_in(&self.inbox)?;
                entry.tag = if reference.function { SS_FUNCTION } else { SS_REFERENCE };
                return Ok(());
            }
            let object = attachment.shared();
            let type_id = Any::type_id(&*object);
            let class = self.registry.class(type_id).ok_or_else(|| Error::Convert {
                place: "host object".into(),
                message: "its class was not declared with Module::object".into(),
            })?;
            let key = self
                .handles
                .borrow_mut()
                .insert(object)
                .map_err(|e| Error::Convert { place: "host object".into(), message: e.to_string() })?;
            entry.tag = SS_OBJECT;
            entry.len = class;
            entry.as_.key = key.into();
            Ok(())
        })
    }
}

/// See [`Local::resolver`].
pub struct LocalResolver<'a>(&'a Local);

impl Resolver for LocalResolver<'_> {
    fn object(&mut self, key: u64, _class: u32) -> Result<Arc<dyn Any + Send + Sync>, String> {
        self.0.handles.borrow().get_any(key.into()).cloned().map_err(|e| e.to_string())
    }

    fn guest(&mut self, entry: &mut ss_value) -> Result<Arc<dyn Any + Send + Sync>, String> {
        let function = entry.tag == SS_FUNCTION;
        // Claimed: the token's drop gives the slot back, not the shim.
        entry.tag |= SS_CLAIMED;
        // SAFETY: an entry with this tag holds a key (csrc/value.h).
        let slot = unsafe { entry.as_.key };
        Ok(Arc::new(Reference { inbox: self.0.inbox.clone(), incarnation: self.0.incarnation, slot, function }))
    }
}

/// What the watchdog reads of an interpreter thread.
#[derive(Debug, Default)]
pub struct Activity {
    /// Id + 1 of the host function that runs now; 0: none.
    pub function: AtomicU32,
    /// Counts host functions started and polls, wrapping: tells one run from the next.
    pub count: AtomicU32,
}

impl Activity {
    /// A host function, or a poll of its future, begins.
    #[inline]
    pub fn enter(&self, function: u32) {
        // One writer, its own thread: a plain increment is enough.
        self.count.store(self.count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.function.store(function + 1, Ordering::Relaxed);
    }

    /// It gave the thread back.
    #[inline]
    pub fn leave(&self) {
        self.function.store(0, Ordering::Relaxed);
    }
}

/// Turns an `Instant` into the nanoseconds of CLOCK_MONOTONIC that a signal handler can compare.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    nanos: u64,
}

impl Clock {
    /// Reads both clocks.
    pub fn new() -> Self {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid place to write to; the call does not fail for this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let nanos = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        Clock { origin: Instant::now(), nanos }
    }

    /// `when` on CLOCK_MONOTONIC, in nanoseconds.
    #[inline]
    pub fn nanos(&self, when: Instant) -> u64 {
        let after = when.saturating_duration_since(self.origin).as_nanos();
        self.nanos.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }
}
