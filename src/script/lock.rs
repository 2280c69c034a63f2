//! Mutexes and semaphores between fibers, served in the order of asking.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex as Cell, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::given_out::GivenOut;
use crate::error::Raise;
use crate::host::parked::tell;
use crate::host::{HostObject, Members, Module, Object};

pub fn add(module: Module) -> Module {
    module
        .object::<Mutex>()
        .object::<Semaphore>()
        .object::<Held>()
        .function("mutex", || Ok(Object::new(Mutex(Permits::new(1)))))
        .function("semaphore", |permits: u32| {
            if permits == 0 {
                return Err(Raise::new("bad_argument", "a semaphore has at least 1 permit").into());
            }
            Ok(Object::new(Semaphore(Permits::new(permits))))
        })
}

/// A number of permits, and who waits for one. A permit that comes back goes straight to the first of them.
#[derive(Default)]
struct Permits {
    free: u32,
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
    /// Tickets that got a permit and have not looked yet.
    granted: Vec<u64>,
    /// So was it, or one of its permits.
    given_out: GivenOut,
}

type Shared = Arc<Cell<Permits>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Permits> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Permits {
    fn new(free: u32) -> Shared {
        Arc::new(Cell::new(Permits { free, ..Permits::default() }))
    }

    fn take(shared: &Shared) -> Option<Permit> {
        let mut permits = lock(shared);
        permits.free = permits.free.checked_sub(1)?;
        Some(Permit(shared.clone()))
    }

    /// Gives one back; who is woken is returned, to be woken without the lock.
    #[must_use]
    fn give(&mut self) -> Option<Waker> {
        match self.waiting.pop_front() {
            Some((ticket, waker)) => {
                self.granted.push(ticket);
                Some(waker)
            }
            None => {
                self.free += 1;
                None
            }
        }
    }
}

/// One permit, until it is dropped.
struct Permit(Shared);

impl Drop for Permit {
    fn drop(&mut self) {
        let waker = lock(&self.0).give();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Waits for a permit. Dropped, it leaves its place, or passes on what it got.
struct Acquire {
    shared: Shared,
    ticket: Option<u64>,
}

impl Acquire {
    fn new(shared: &Shared) -> Self {
        Acquire { shared: shared.clone(), ticket: None }
    }
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Permit> {
        let shared = self.shared.clone();
        let Some(ticket) = self.ticket else {
            if let Some(permit) = Permits::take(&shared) {
                return Poll::Ready(permit);
            }
            let mut permits = lock(&shared);
            permits.next += 1;
            self.ticket = Some(permits.next);
            let place = (permits.next, task.waker().clone());
            permits.waiting.push_back(place);
            tell(|| permits.given_out.wait());
            return Poll::Pending;
        };
        let mut permits = lock(&shared);
        if let Some(at) = permits.granted.iter().position(|granted| *granted == ticket) {
            permits.granted.swap_remove(at);
            self.ticket = None;
            return Poll::Ready(Permit(self.shared.clone()));
        }
        if let Some((_, waker)) = permits.waiting.iter_mut().find(|(waiting, _)| *waiting == ticket) {
            waker.clone_from(task.waker());
        }
        tell(|| permits.given_out.wait());
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let waker = {
            let mut permits = lock(&self.shared);
            permits.waiting.retain(|(waiting, _)| *waiting != ticket);
            match permits.granted.iter().position(|granted| *granted == ticket) {
                Some(at) => {
                    permits.granted.swap_remove(at);
                    permits.give()
                }
                None => None,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Mutex(Shared);

impl HostObject for Mutex {
    const NAME: &'static str = "Mutex";

    fn members(members: &mut Members<Self>) {
        members
            .method("lock", async |this: &Self| Ok(held(Acquire::new(&this.0).await)))
            .method("try_lock", |this: &Self| Ok(Permits::take(&this.0).map(held)))
            .given_out(|this| lock(&this.0).given_out.note());
    }
}

struct Semaphore(Shared);

impl HostObject for Semaphore {
    const NAME: &'static str = "Semaphore";

    fn members(members: &mut Members<Self>) {
        members
            .method("acquire", async |this: &Self| Ok(held(Acquire::new(&this.0).await)))
            .method("try_acquire", |this: &Self| Ok(Permits::take(&this.0).map(held)))
            .given_out(|this| lock(&this.0).given_out.note());
    }
}

/// What is held until it is closed, or collected.
struct Held(Cell<Option<Permit>>);

fn held(permit: Permit) -> Object<Held> {
    Object::new(Held(Cell::new(Some(permit))))
}

impl HostObject for Held {
    const NAME: &'static str = "Guard";

    fn members(members: &mut Members<Self>) {
        let release = |this: &Self| {
            drop(this.0.lock().unwrap_or_else(PoisonError::into_inner).take());
            Ok(())
        };
        members.method("close", release).method("unlock", release).given_out(|this| {
            if let Some(permit) = &*this.0.lock().unwrap_or_else(PoisonError::into_inner) {
                lock(&permit.0).given_out.note();
            }
        });
    }
}
