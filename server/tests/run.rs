//! `sidestack run`: exit statuses, arguments, output, signals.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use common::{Folder, LONG, ran, run, spawn_run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn the_status_is_the_scripts_own() {
    for (script, status) in [
        ("", 0),
        ("return nil", 0),
        ("return 3", 3),
        ("return 3.0", 3),
        ("return true", 0),
        ("return false", 1),
        ("return {}", 0),
        ("return 256", 1),
        ("return -1", 1),
        ("error 'no'", 1),
        ("this is not Lua", 1),
    ] {
        let ran = run(script, &[], &[]);
        assert_eq!(ran.status, Some(status), "{script}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{script}");
    }
}

#[test]
fn arguments_and_output_are_the_scripts_own() {
    let ran = run("print(...) return select('#', ...)", &[], &["a", "b c", "--deadline", "--", "-x"]);
    assert_eq!((ran.status, ran.stdout.as_str(), ran.stderr.as_str()), (Some(5), "a\tb c\t--deadline\t--\t-x\n", ""));
}

#[test]
fn an_error_prints_its_place_and_traceback() {
    let ran = run("local function inner()\n  error('it broke')\nend\nlocal x = inner()\nreturn x", &[], &[]);
    assert_eq!(ran.status, Some(1));
    for part in ["error[script] it broke", "job.lua:2", "error('it broke')", "called from job.lua:4 in main chunk"] {
        assert!(ran.stderr.contains(part), "no {part:?} in\n{}", ran.stderr);
    }
}

#[test]
fn a_deadlock_ends_the_run_with_a_report() {
    let script = "local ss = require 'sidestack'
local a, b = ss.mutex(), ss.mutex()
local function take(first, second)
  local one <close> = first:lock()
  ss.yield()
  local two <close> = second:lock()
end
local t, u = ss.spawn(take, a, b), ss.spawn(take, b, a)
t:join()";
    let begun = Instant::now();
    let ended = run(script, &[], &[]);
    assert!(begun.elapsed() < LONG);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    let report: Vec<&str> = ended.stderr.lines().skip_while(|line| !line.contains("error[deadlock]")).collect();
    assert_eq!(report[0], "  error[deadlock] nothing is left that could wake 3 fibers", "{}", ended.stderr);
    assert!(report[1].starts_with("    ┌ job.lua:9 ") && report[2] == "    │ 9   t:join()", "{}", ended.stderr);
    for (line, place, wait) in
        [(3, "job.lua:9", "Task.join (fiber "), (4, "job.lua:6", "Mutex.lock"), (5, "job.lua:6", "Mutex.lock")]
    {
        assert!(report[line].contains(place) && report[line].contains(wait), "{}", report[line]);
    }
    assert_eq!(report.len(), 6, "{}", ended.stderr);
}

#[test]
fn so_does_one_of_the_tasks_that_a_script_leaves() {
    let script = "local ss = require 'sidestack'
local c = ss.channel()
ss.background(function()
  for _ in c:iter() do end
end)
print('returned')
return 0";
    let ended = run(script, &[], &[]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), "returned\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("could wake 1 fiber\n") && ended.stderr.contains("job.lua:4"), "{}", ended.stderr);
    // One that closes its channel leaves nobody behind.
    let ended = run(&script.replace("print", "c:close() print"), &[], &[]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn modules_are_found_beside_the_script() {
    let folder = Folder::new();
    folder.script(
        "words.lua",
        "return { hello = function() return 'hello' end, fail = function()\n  error('inside') end }",
    );
    let done = ran(spawn_run(&folder, "print(require('words').hello())", &[], &[]));
    assert_eq!((done.status, done.stdout.as_str()), (Some(0), "hello\n"), "{}", done.stderr);
    let failed = ran(spawn_run(&folder, "require('words').fail()", &[], &[]));
    assert!(
        failed.stderr.contains("words.lua:2") && failed.stderr.contains("error('inside') end"),
        "{}",
        failed.stderr
    );
}

#[test]
fn the_deadline_is_124() {
    for script in ["while true do end", "require('sidestack').sleep(60)"] {
        let begun = Instant::now();
        let ran = run(script, &["--deadline", "300ms"], &[]);
        assert_eq!(ran.status, Some(124), "{}", ran.stderr);
        assert!(ran.stderr.contains("deadline"), "{}", ran.stderr);
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
}

#[test]
fn tasks_are_waited_for_until_the_deadline() {
    const TASKS: &str = "local ss = require 'sidestack'
        ss.background(function() ss.sleep(0.3) ss.spawn(function() ss.sleep(0.1) print('inner') end) print('outer') end)
        print('main')
        return 4";
    let done = run(TASKS, &[], &[]);
    assert_eq!((done.status, done.stdout.as_str()), (Some(4), "main\nouter\ninner\n"), "{}", done.stderr);
    let late = run("local ss = require 'sidestack' ss.background(ss.sleep, 60)", &["--deadline", "300ms"], &[]);
    assert_eq!(late.status, Some(124), "{}", late.stderr);
}

/// Starts a script and waits for its first line.
fn started(folder: &Folder, script: &str, flags: &[&str]) -> Child {
    let mut child = spawn_run(folder, script, flags, &[]);
    let mut line = String::new();
    let mut stdout = BufReader::with_capacity(1, child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "started\n");
    child.stdout = Some(stdout.into_inner());
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).expect("an id")), signal).expect("a process");
}

#[test]
fn sigint_cancels_cleans_up_and_is_130() {
    let folder = Folder::new();
    let child = started(
        &folder,
        "local clean <close> = setmetatable({}, { __close = function() print('cleaned up') end })
         print('started')
         require('sidestack').sleep(60)",
        &[],
    );
    signal(&child, Signal::SIGINT);
    let ran = ran(child);
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(130), "cleaned up\n"), "{}", ran.stderr);
    let child = started(&folder, "print('started') while true do end", &[]);
    signal(&child, Signal::SIGINT);
    assert_eq!(common::ran(child).status, Some(130));
}

#[test]
fn sigterm_lets_the_script_end() {
    let folder = Folder::new();
    let script = "print('started') require('sidestack').sleep(0.5) print('ended') return 7";
    let child = started(&folder, script, &[]);
    signal(&child, Signal::SIGTERM);
    let done = ran(child);
    assert_eq!((done.status, done.stdout.as_str()), (Some(7), "ended\n"), "{}", done.stderr);
    let child = started(&folder, "print('started') require('sidestack').sleep(60)", &["--drain", "200ms"]);
    signal(&child, Signal::SIGTERM);
    assert_eq!(ran(child).status, Some(143));
}

#[test]
fn the_sandbox_opens_by_name() {
    const SCRIPT: &str = "return io and io.open and 1 or 0";
    assert_eq!(run(SCRIPT, &[], &[]).status, Some(0));
    assert_eq!(run(SCRIPT, &["--allow", "io,gc"], &[]).status, Some(1));
}

#[test]
fn the_log_goes_to_stderr() {
    let done = run("require('sidestack').log.info('got it', { n = 1 })", &[], &[]);
    assert!(done.stderr.contains("info  got it") && done.stderr.contains(r#"{"n":1}"#), "{}", done.stderr);
    let quiet = run("require('sidestack').log.info('got it')", &["--log", "warn"], &[]);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn an_option_that_does_not_exist_is_no_script() {
    let out = common::sidestack().args(["run", "--nonsense", "job.lua"]).output().expect("a run");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && stderr.contains("`--nonsense`"), "{stderr}");
}
