//! Mutexes and semaphores between fibers.

use std::sync::{Arc, Mutex as Cell, PoisonError};

use async_lock::{Mutex, MutexGuardArc, Semaphore, SemaphoreGuardArc};

use crate::error::Raise;
use crate::host::{HostObject, Members, Module, Object};

pub fn add(module: Module) -> Module {
    module
        .object::<Lock>()
        .object::<Permits>()
        .object::<Held>()
        .function("mutex", || Ok(Object::new(Lock(Arc::new(Mutex::new(()))))))
        .function("semaphore", |permits: u32| {
            if permits == 0 {
                return Err(Raise::new("bad_argument", "a semaphore has at least 1 permit").into());
            }
            Ok(Object::new(Permits(Arc::new(Semaphore::new(permits as usize)))))
        })
}

struct Lock(Arc<Mutex<()>>);

impl HostObject for Lock {
    const NAME: &'static str = "Mutex";

    fn members(members: &mut Members<Self>) {
        members
            .method("lock", async |this: &Self| Ok(held(Guard::Mutex(this.0.lock_arc().await))))
            .method("try_lock", |this: &Self| Ok(this.0.try_lock_arc().map(|guard| held(Guard::Mutex(guard)))));
    }
}

struct Permits(Arc<Semaphore>);

impl HostObject for Permits {
    const NAME: &'static str = "Semaphore";

    fn members(members: &mut Members<Self>) {
        members
            .method("acquire", async |this: &Self| Ok(held(Guard::Permit(this.0.acquire_arc().await))))
            .method("try_acquire", |this: &Self| Ok(this.0.try_acquire_arc().map(|guard| held(Guard::Permit(guard)))));
    }
}

/// What is held until it is closed, or collected.
struct Held(Cell<Option<Guard>>);

#[expect(dead_code, reason = "held for their drops")]
enum Guard {
    Mutex(MutexGuardArc<()>),
    Permit(SemaphoreGuardArc),
}

fn held(guard: Guard) -> Object<Held> {
    Object::new(Held(Cell::new(Some(guard))))
}

impl HostObject for Held {
    const NAME: &'static str = "Guard";

    fn members(members: &mut Members<Self>) {
        let release = |this: &Self| {
            drop(this.0.lock().unwrap_or_else(PoisonError::into_inner).take());
            Ok(())
        };
        members.method("close", release).method("unlock", release);
    }
}
