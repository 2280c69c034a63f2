//! What one interpreter thread has of its own, as host functions reach it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::account::Accounts;
use super::c_api::{Callback, Pointer};
use super::registry::Registry;
use super::timer::{Timers, Whom};
use crate::Error;
use crate::abi::{SS_CLAIMED, SS_FUNCTION, SS_OBJECT, SS_REFERENCE, ss_value};
use crate::call::inbox::Inbox;
use crate::call::job::{Extensions, Job};
use crate::call::reference::Reference;
use crate::call::tenure::Tenure;
use crate::call::wake::FiberWaker;
use crate::handle::{Shared, Table};
use crate::value::{Flat, Resolver};

/// See the module. Lives in an `Rc`: it never leaves its thread.
pub struct Local {
    /// The guest's name.
    pub guest: &'static str,
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
    /// The number of the last host error that a guest was given.
    pub next_error: Cell<u64>,
    /// Objects that are lent to host functions now; while there are any, none is dropped.
    pub lent: Lent,
    /// Waits without an async runtime.
    pub timers: RefCell<Timers>,
    /// What the host future that is polled now is polled with; null: none is.
    pub polling: Cell<*const FiberWaker>,
    /// Fibers that wait for a module that another one loads.
    pub loading: RefCell<Vec<Waker>>,
    /// This incarnation's books, and what others see of it.
    pub tenure: Arc<Tenure>,
    /// For deadlines that ticks compare.
    pub clock: Clock,
    /// The most memory that its fibers may hold together, in bytes.
    pub memory: usize,
    /// What they hold of the host's.
    pub accounts: Arc<Accounts>,
    /// Bytes of a fiber's stack, for messages.
    pub stack: usize,
    /// Whether guest code is in a finalizer now.
    pub in_finalizer: Box<dyn Fn() -> bool>,
}

impl Local {
    /// The most memory, in bytes, that one fiber can have which may have `most`, and the setting that says so.
    pub fn memory_limit(&self, most: usize) -> (usize, &'static str) {
        if most < self.memory { (most, "call_memory") } else { (self.memory, "memory") }
    }

    /// Lends the object behind a key to a host function that gives it back before it returns: no count is touched. `None`:
    /// it is none, or of another type.
    #[inline]
    pub fn lend<T: Any>(&self, key: u64) -> Option<Borrowed<'_, T>> {
        // SAFETY: nothing is called while the reference lives. (A borrow that is counted would be two stores.)
        let handles = unsafe { self.handles.try_borrow_unguarded() }.ok()?;
        let object = ptr::from_ref(handles.find::<T>(key.into())?);
        self.lent.now.set(self.lent.now.get() + 1);
        Some(Borrowed { lent: &self.lent, object })
    }

    /// Drops what the guest's last reference to an object is gone from, now or when nothing is lent any more.
    pub fn release(&self, key: u64) {
        let object = self.handles.borrow_mut().remove(key.into()).ok();
        if self.lent.now.get() > 0 {
            self.lent.released.borrow_mut().extend(object);
        }
    }

    /// The incarnation is lost: what its guest held, to be dropped. What is C's own is forgotten: only C could take it back.
    pub fn let_go(&self) -> Vec<Shared> {
        let mut table = self.handles.borrow_mut();
        let held = table.leaks().into_iter().filter_map(|key| table.remove(key).ok());
        let (c, rust): (Vec<_>, Vec<_>) = held.partition(|object| object.is::<Pointer>() || object.is::<Callback>());
        c.into_iter().for_each(std::mem::forget);
        rust
    }

    /// A module has been loaded, or not: who waits for one looks again.
    pub fn module_done(&self) {
        let waiting = std::mem::take(&mut *self.loading.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Who is to be woken by a waker: the fiber that is polled now, whose waker need not be counted, or anybody.
    #[inline]
    pub fn whom(&self, waker: &Waker) -> Whom {
        // SAFETY: its fiber's record holds it through the poll.
        match unsafe { self.polling.get().as_ref() } {
            Some(polling) if ptr::addr_eq(waker.data(), polling) => Whom::Fiber(polling.key),
            _ => Whom::Other(waker.clone()),
        }
    }

    /// Turns handles and slots back into what they stand for, for the engine's `own` use or for others.
    #[inline]
    pub fn resolver(&self, own: bool) -> LocalResolver<'_> {
        LocalResolver { local: self, own }
    }

    /// Gives the attachments of a run that goes to the guest their handles and slots. [`Local::unbind`] has to follow, unless
    /// this fails.
    #[inline]
    pub fn bind(&self, flat: &mut Flat) -> Result<(), Error> {
        if flat.has_attachments() { self.bind_attachments(flat).inspect_err(|_| self.unbind(flat)) } else { Ok(()) }
    }

    /// A job is over, or will not begin: [`Local::unbind`] for its arguments.
    pub fn unbind_args(&self, job: &mut Job) {
        if let Some(args) = job.work.args_mut() {
            self.unbind(args);
        }
    }

    /// The guest has had a run, or will not get it: handles of objects that it did not claim are gone. The run still holds
    /// the objects, so none is dropped here.
    pub fn unbind(&self, flat: &mut Flat) {
        flat.unbind(|key| self.release(key));
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

/// How many objects are lent, and what was released meanwhile.
#[derive(Default)]
pub struct Lent {
    now: Cell<u32>,
    released: RefCell<Vec<Arc<dyn Any + Send + Sync>>>,
}

impl Lent {
    #[cold]
    fn drop_released(&self) {
        // While a panic unwinds, another one in an object's drop would end the process: the next one drops them.
        if !std::thread::panicking() {
            drop(self.released.take());
        }
    }
}

/// An object from the handle table, lent.
pub struct Borrowed<'a, T> {
    lent: &'a Lent,
    object: *const T,
}

impl<T> Deref for Borrowed<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the table, or `Lent::released`, holds the object while it is lent (`Local::release`, the only one who takes
        // objects out).
        unsafe { &*self.object }
    }
}

impl<T> Drop for Borrowed<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        let now = self.lent.now.get() - 1;
        self.lent.now.set(now);
        if now == 0 && !self.lent.released.borrow().is_empty() {
            self.lent.drop_released();
        }
    }
}

/// See [`Local::resolver`].
pub struct LocalResolver<'a> {
    local: &'a Local,
    own: bool,
}

impl Resolver for LocalResolver<'_> {
    fn object(&mut self, key: u64, _class: u32) -> Result<Arc<dyn Any + Send + Sync>, String> {
        let object = self.local.handles.borrow().get_any(key.into()).cloned().map_err(|e| e.to_string())?;
        if object.is::<Pointer>() || object.is::<Callback>() {
            // It must not outlive its place in the table.
            return Err("wrong type of host object: it is C's own".into());
        }
        if !self.own {
            self.local.registry.note_given_out(&*object);
        }
        Ok(object)
    }

    fn guest(&mut self, entry: &mut ss_value) -> Result<Arc<dyn Any + Send + Sync>, String> {
        let function = entry.tag == SS_FUNCTION;
        // Claimed: the token's drop gives the slot back, not the shim.
        entry.tag |= SS_CLAIMED;
        // SAFETY: an entry with this tag holds a key (csrc/value.h).
        let slot = unsafe { entry.as_.key };
        let Local { inbox, incarnation, .. } = self.local;
        Ok(Arc::new(Reference::new(inbox, *incarnation, slot, function, self.own)))
    }
}

/// Turns an `Instant` into the nanoseconds of CLOCK_MONOTONIC that a signal handler can compare.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    nanos: u64,
}

impl Clock {
    /// Reads both clocks, this one first: a time that a signal handler finds passed is never still to come for `Instant`.
    pub fn new() -> Self {
        let origin = Instant::now();
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid place to write to; the call does not fail for this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let nanos = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        Clock { origin, nanos }
    }

    /// A time on CLOCK_MONOTONIC, in nanoseconds, as an `Instant`.
    pub fn instant(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos.saturating_sub(self.nanos))
    }

    /// `when` on CLOCK_MONOTONIC, in nanoseconds.
    #[inline]
    pub fn nanos(&self, when: Instant) -> u64 {
        let after = when.saturating_duration_since(self.origin).as_nanos();
        self.nanos.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }
}
