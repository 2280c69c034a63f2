//! PHP's start, once in a process.

use std::ffi::{CStr, CString, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::mpsc;

use super::{Php, bindings as c};
use crate::Error;
use crate::error::refused;

/// The settings that PHP was started with, or why it was not.
static STARTED: OnceLock<Result<Php, String>> = OnceLock::new();

/// Starts PHP, unless it has been started with the same settings.
pub fn start(settings: &Php) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::Refused { name: refused::BAD_SETTING, message });
    match STARTED.get_or_init(|| on_its_thread(settings.clone()).map(|()| settings.clone())) {
        Ok(started) if started == settings => Ok(()),
        Ok(_) => refuse("PHP has been started in this process with other settings".into()),
        Err(error) => refuse(format!("PHP cannot be started: {error}")),
    }
}

/// What PHP makes thread-local for its first thread is used as long as the process lives: so does the thread.
fn on_its_thread(settings: Php) -> Result<(), String> {
    let mut entries = String::new();
    for (name, value) in &settings.ini {
        if [name, value].iter().any(|text| text.contains(['\n', '\0'])) {
            return Err(format!("the setting {name:?} has a line break in it"));
        }
        entries.push_str(&format!("{name}={value}\n"));
    }
    let entries = CString::new(entries).map_err(|e| e.to_string())?;
    let file =
        settings.file.map(|path| CString::new(path.as_os_str().as_bytes())).transpose().map_err(|e| e.to_string())?;
    let (tell, told) = mpsc::channel();
    let command_line = c_int::from(settings.command_line);
    let run = move || {
        let file = file.as_ref().map_or(std::ptr::null(), |file| file.as_ptr());
        // SAFETY: once in a process (the `OnceLock`), on a thread that never ends; both texts live through the call.
        let error = unsafe { c::ssphp_startup(entries.as_ptr(), file, command_line) };
        let result = if error.is_null() {
            Ok(())
        } else {
            // SAFETY: a terminated text that lives for ever (ssphp.h).
            Err(unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned())
        };
        let _ = tell.send(result);
        loop {
            std::thread::park();
        }
    };
    // As much stack as a process's first thread has, where PHP is started elsewhere.
    let thread = std::thread::Builder::new().name("sidestack-php".into()).stack_size(8 << 20);
    thread.spawn(run).map_err(|e| e.to_string())?;
    told.recv().map_err(|_| "its thread ended".to_owned())?
}
