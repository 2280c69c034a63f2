//! Tests whose process is to die, or that use up what all tests share: they run in a process of their own.

use std::io::Write;
use std::process::{Command, Output};

const CHILD: &str = "SIDESTACK_TEST_CHILD";

/// Runs `body` in a child: this test binary again, with the calling test only. `test` is the test's full name, for instance
/// `fiber::pool::tests::guard_faults`. Returns `None` in the child.
pub fn in_child(test: &str, body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(CHILD).is_some_and(|name| name == test) {
        body();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, test);
    Some(command.output().unwrap())
}

/// Says on stderr, unbuffered, how far the child came.
pub fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

/// The child said `line` and was then killed by a memory fault.
pub fn assert_faulted_after(line: &str, output: &Output) {
    use std::os::unix::process::ExitStatusExt;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(line), "did not come as far as {line:?}: {text}");
    // The sanitizer reports the fault itself, and exits.
    let faulted = match output.status.signal() {
        Some(signal) => signal == libc::SIGSEGV,
        None => cfg!(feature = "sanitizer") && text.contains("AddressSanitizer"),
    };
    assert!(faulted, "{:?}: {text}", output.status);
}
