//! Exported functions called by threads that are no interpreter threads: raw pthreads, C libraries' own pools.
//!
//! What may happen is the function's own policy. Rejected: it fails with a name. Owner: a fiber of an engine that owns such
//! calls makes the same call, with the same arguments, while the thread waits; nothing is allocated for the thread itself.
//! Attach: the function runs right there, and an async one blocks the thread. Of all that a thread is left with its last
//! error, which goes when it ends.

use std::ffi::c_int;
use std::future::poll_fn;
use std::sync::{PoisonError, RwLock, Weak};

use crate::Error;
use crate::abi::{SS_ERROR, SS_OK, ss_export_run};
use crate::call::Call;
use crate::call::job::{Dispatch, ForeignRun, Target, Work};
use crate::crossing::fence::fence;
use crate::crossing::foreign::failed;
use crate::crossing::host_call::panic_error;
use crate::crossing::reply;
use crate::error::{HostResult, refused};
use crate::host::exported::{self, Export, Foreign};
use crate::host::function::Started;

/// The engine that owns foreign threads' calls.
static OWNER: RwLock<Option<Weak<dyn Dispatch>>> = RwLock::new(None);

/// Makes an engine the owner, in the place of the former one.
pub fn own(engine: Weak<dyn Dispatch>) {
    *OWNER.write().unwrap_or_else(PoisonError::into_inner) = Some(engine);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ss_cross_export_foreign(export: *const Export, args: *const (), result: *mut ()) -> c_int {
    // SAFETY: csrc/export.c passes on what the export's symbol gave it: a static and two places in its frame.
    let outcome = fence(|| unsafe { run(&*export, args, result) });
    let error = match outcome {
        Ok(Ok(())) => return SS_OK as c_int,
        Ok(Err(error)) => error,
        // SAFETY: as above.
        Err(panicked) => panic_error(unsafe { (*export).name }, &panicked, Vec::new(), 0, None),
    };
    let (code, message) = reply::describe(&error);
    failed(SS_ERROR, code.unwrap_or("error"), &message)
}

unsafe fn run(export: &'static Export, args: *const (), result: *mut ()) -> HostResult<()> {
    if let Some(error) = exported::called_back() {
        return Err(error.into());
    }
    match export.foreign {
        Foreign::Reject => Err(Error::Refused {
            name: refused::FOREIGN_THREAD,
            message: format!("{} may be called on interpreter threads only (foreign = reject)", export.name),
        }
        .into()),
        Foreign::Owner => by_owner(export, args, result),
        Foreign::Attach => {
            // SAFETY: passed on; nothing outlives this.
            match unsafe { export.run(args, result, None) } {
                Started::Ready(outcome) => outcome.map(drop),
                Started::Pending(mut future) => {
                    futures_lite::future::block_on(poll_fn(|task| future.poll(task))).map(drop)
                }
            }
        }
    }
}

fn by_owner(export: &'static Export, args: *const (), result: *mut ()) -> HostResult<()> {
    let owner = OWNER.read().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(engine) = owner.and_then(|engine| engine.upgrade()) else {
        return Err(Error::Refused {
            name: refused::NO_OWNER,
            message: format!("no engine runs {} for other threads (Engine::own_foreign_calls)", export.name),
        }
        .into());
    };
    // The engine's user decides how long it lives, not who waits here.
    let inbox = engine.pick()?;
    drop(engine);
    let run = ForeignRun(ss_export_run {
        export: std::ptr::from_ref(export).cast(),
        args: args.cast(),
        result: result.cast(),
    });
    let call = Call::<()>::new(Target::Bound(inbox), export.name, (), |_| Work::Foreign { run });
    Ok(futures_lite::future::block_on(call)?)
}
