//! What a fiber is at, also where its interpreter does not answer. The C side is csrc/snapshot.c.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::time::Duration;

use crate::abi;
use crate::diagnosis::{Backtrace, Parts};

/// What the fiber that an interpreter thread runs is at. The thread answers in a signal handler, whatever it runs. `None`: there
/// is no such thread, it runs no fiber, or it does not answer in time. Not to be asked by an interpreter thread.
pub(crate) fn of_thread(thread: libc::pid_t, patience: Duration) -> Option<(u64, Backtrace)> {
    let mut snapshot = MaybeUninit::<abi::ss_snapshot>::uninit();
    let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: a place for the answer; any number may be asked, since only interpreter threads of this process know the signal.
    let failed = unsafe { abi::ss_snapshot_take(thread, nanoseconds, snapshot.as_mut_ptr()) };
    if failed != 0 {
        return None;
    }
    // SAFETY: it is filled in where that succeeds.
    let snapshot = unsafe { snapshot.assume_init_ref() };
    (snapshot.fiber != 0).then(|| (snapshot.fiber, backtrace(snapshot)))
}

/// Return addresses of a fiber that does not run, from `frame` outwards, on a stack with these bounds (base, limit). To be
/// called on its interpreter thread.
pub(crate) fn frames(frame: usize, (base, limit): (usize, usize)) -> Vec<usize> {
    let mut frames = [0; abi::SS_FRAMES as usize];
    // SAFETY: room for as many frames as it fills; memory that is not there is not read.
    let depth = unsafe { abi::ss_snapshot_frames(frame, limit, base, frames.as_mut_ptr()) };
    frames[..depth as usize].to_vec()
}

/// Its frames, in words.
pub(super) fn backtrace(snapshot: &abi::ss_snapshot) -> Backtrace {
    let c = snapshot.frames.get(..snapshot.depth as usize).unwrap_or(&snapshot.frames);
    Backtrace::new(Parts {
        c: c.to_vec(),
        c_is_exact: snapshot.in_host == 0,
        script: script(snapshot),
        ..Parts::default()
    })
}

/// The lines of the script.
pub(super) fn script(snapshot: &abi::ss_snapshot) -> String {
    let bytes: Vec<u8> = snapshot.script.iter().map(|byte| byte.cast_unsigned()).collect();
    CStr::from_bytes_until_nul(&bytes).map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}
