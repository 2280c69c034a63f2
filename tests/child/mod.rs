//! Tests that run in a process of their own: what they provoke may end it, or is counted for the whole of it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Names the test whose body is to run.
const CHILD: &str = "SIDESTACK_TEST_CHILD";
/// A hang is a failure.
const PATIENCE: Duration = Duration::from_secs(300);

/// How many times as much is to be done as in CI: `SIDESTACK_LONG`.
pub fn long() -> u32 {
    std::env::var("SIDESTACK_LONG").map_or(1, |text| text.parse().expect("SIDESTACK_LONG is a number"))
}

/// Why nothing is contained here, if nothing is.
pub fn uncontained() -> Option<&'static str> {
    let preloaded = std::env::var("LD_PRELOAD").unwrap_or_default();
    (std::env::var_os("ASAN_OPTIONS").is_some() || preloaded.contains("vgpreload"))
        .then_some("faults are not contained under AddressSanitizer and valgrind")
}

/// Runs `body` in a child, this binary again with that test only. `None` in the child.
pub fn in_child(test: &str, body: impl FnOnce()) -> Option<Output> {
    in_child_with(&[], test, body)
}

/// The same, with these variables in its environment.
pub fn in_child_with(variables: &[(&str, &str)], test: &str, body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(CHILD).is_some_and(|name| name == test) {
        body();
        say("the end");
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, test);
    command.envs(variables.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child");
    let begun = Instant::now();
    // The output is short: it fits into the pipes.
    while child.try_wait().expect("a child to wait for").is_none() {
        if begun.elapsed() > PATIENCE * long() {
            child.kill().expect("a child to kill");
            panic!("{test} hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(child.wait_with_output().expect("its output"))
}

/// To stderr, past the test harness.
pub fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("stderr");
}

/// The child came to its end. What it said is said again.
#[track_caller]
pub fn passes(test: &str, body: impl FnOnce()) {
    passes_with(&[], test, body);
}

/// The same, with these variables in its environment.
#[track_caller]
pub fn passes_with(variables: &[(&str, &str)], test: &str, body: impl FnOnce()) {
    let Some(output) = in_child_with(variables, test, body) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("the end"), "{:?}: {text}", output.status);
    print!("{}", text.replace("the end\n", ""));
}

/// Resident bytes of this process.
pub fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}

/// Waits for it.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
