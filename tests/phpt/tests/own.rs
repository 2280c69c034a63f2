//! PHP's own tests of its Fibers and of its stack limits, each in two copies that take turns at every write.
//!
//! They come with PHP's source (build/php.sh keeps them). Each runs in a process of its own (src/bin/phpt.rs): on one
//! interpreter thread, two requests whose output sink gives the turn away, so that both are always somewhere in the middle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sidestack_test_phpt::expect::Expectation;
use sidestack_test_phpt::file::Phpt;
use sidestack_test_phpt::play::Played;

/// Those that say nothing about PHP under Sidestack, and why.
const NOT_APPLICABLE: [(&str, &str); 4] = [
    ("fibers/signal-async.phpt", "needs pcntl, which is not built: a process's signals are the host's"),
    ("fibers/signal-dispatch.phpt", "needs pcntl, which is not built: a process's signals are the host's"),
    ("stack_limit/gh16041_001.phpt", "a session with PHP's debugger, phpdbg"),
    ("stack_limit/gh16041_002.phpt", "a session with PHP's debugger, phpdbg"),
];

/// Where PHP itself uses a Fiber's stack before it publishes it: memory is exhausted while a Fiber is being made, and the error is
/// reported from there.
const UNPUBLISHED: &str = "fibers/out-of-memory-in-recursive-fiber.phpt";

/// How many there are in PHP 8.4.24.
const TESTS: [(&str, usize); 2] = [("fibers", 91), ("stack_limit", 17)];

/// What PHP's own runner sets for its tests, as far as it matters here.
const SETTINGS: [(&str, &str); 12] = [
    ("error_reporting", "32767"),
    ("display_errors", "1"),
    ("display_startup_errors", "1"),
    ("log_errors", "0"),
    ("html_errors", "0"),
    ("precision", "14"),
    ("serialize_precision", "-1"),
    ("memory_limit", "128M"),
    ("zend.assertions", "1"),
    ("zend.exception_ignore_args", "0"),
    ("zend.exception_string_param_max_len", "15"),
    ("date.timezone", "UTC"),
];

/// Extensions that the tests ask for and that are there; zend_test's functions are in csrc/functions.c.
const EXTENSIONS: [&str; 3] = ["ctype", "posix", "zend_test"];

/// A hang is a failure.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
enum Verdict {
    Passed,
    NotApplicable(String),
    Failed(String),
}

#[test]
fn every_test_passes_in_two_copies_at_once() {
    let root =
        PathBuf::from(std::env::var_os("SIDESTACK_PHP_TESTS").unwrap_or_else(|| env!("SIDESTACK_PHP_TESTS").into()));
    let only = std::env::var("PHPT").ok();
    let mut files = Vec::new();
    for (folder, count) in TESTS {
        let found = tests_in(&root.join(folder));
        assert_eq!(found.len(), count, "tests in {}", root.join(folder).display());
        files.extend(found.into_iter().map(|name| format!("{folder}/{name}")));
    }
    files.retain(|file| only.as_ref().is_none_or(|only| file.contains(only.as_str())));

    let (next, verdicts) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = judge(&root, file);
                    verdicts.lock().expect("no panic").insert(file.clone(), verdict);
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().expect("no panic");

    let mut failed = String::new();
    let mut passed = 0;
    for (file, verdict) in &verdicts {
        let listed = NOT_APPLICABLE.iter().find(|(name, _)| name == file);
        match (verdict, listed) {
            (Verdict::Passed, None) => passed += 1,
            (Verdict::Passed, Some(_)) => failed += &format!("{file}: passes, though it is listed as not applicable\n"),
            (Verdict::NotApplicable(why), Some(_)) => println!("{file}: {why}"),
            (Verdict::NotApplicable(why), None) => {
                failed += &format!("{file}: not applicable ({why}), and not listed\n")
            }
            (Verdict::Failed(why), _) => failed += &format!("{file}: {why}\n"),
        }
    }
    println!("{passed} of {} passed in two copies, {} are not applicable", verdicts.len(), verdicts.len() - passed);
    assert!(failed.is_empty(), "{failed}");
}

fn tests_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".phpt")).collect();
    names.sort();
    names
}

fn judge(root: &Path, file: &str) -> Verdict {
    let phpt = Phpt::parse(&std::fs::read(root.join(file)).expect("a test"));
    if phpt.section("PHPDBG").is_some() {
        return Verdict::NotApplicable("PHPDBG".into());
    }
    if let Some(missing) = phpt.words("EXTENSIONS").into_iter().find(|name| !EXTENSIONS.contains(&name.as_str())) {
        return Verdict::NotApplicable(format!("extension {missing}"));
    }
    let known = ["TEST", "CREDITS", "FILE", "INI", "ENV", "SKIPIF", "EXTENSIONS", "EXPECT", "EXPECTF", "EXPECTREGEX"];
    if let Some(unknown) = phpt.names().find(|name| !known.contains(name)) {
        return Verdict::Failed(format!("its section {unknown} is not known here"));
    }
    let Some(expected) = Expectation::of(&phpt) else { return Verdict::Failed("it expects nothing".into()) };

    // A folder of its own, with the files that it includes beside it.
    let folder = tempfile::tempdir().expect("a folder");
    let name = Path::new(file).file_stem().expect("a name").to_string_lossy().into_owned();
    let home = root.join(file).parent().expect("a folder").to_path_buf();
    for entry in std::fs::read_dir(&home).expect("tests") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "inc") {
            std::fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a script");
        path
    };
    if let Some(text) = phpt.section("SKIPIF") {
        let played = match run(&phpt, &write(&format!("{name}.skip.php"), text), 1) {
            Ok(played) => played,
            Err(why) => return Verdict::Failed(format!("its SKIPIF: {why}")),
        };
        let said = String::from_utf8_lossy(&played.outputs[0]).trim().to_string();
        if said.to_lowercase().starts_with("skip") {
            return Verdict::NotApplicable(said);
        }
    }
    let played = match run(&phpt, &write(&format!("{name}.php"), phpt.section("FILE").unwrap_or_default()), 2) {
        Ok(played) => played,
        Err(why) => return Verdict::Failed(why),
    };
    for output in &played.outputs {
        if !expected.met_by(output) {
            return Verdict::Failed(format!("gave:\n{}\n", String::from_utf8_lossy(output)));
        }
    }
    let [writes, changes] = played.turns;
    // Each copy writes as often as the other, and after each write it is the other's turn: but for the start and the end.
    if writes >= 4 && changes + 3 < writes {
        return Verdict::Failed(format!("its copies did not take turns: {changes} of {writes}"));
    }
    let [upcalls, outside] = played.bounds;
    if (outside > 0) != (file == UNPUBLISHED) || upcalls == 0 {
        return Verdict::Failed(format!("{outside} of {upcalls} upcalls outside of the published stack"));
    }
    Verdict::Passed
}

/// Plays a script in a process of its own, with the test's settings and environment.
fn run(phpt: &Phpt, script: &Path, copies: u32) -> Result<Played, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phpt"));
    command.arg(copies.to_string()).arg(script).current_dir(script.parent().expect("a folder"));
    let folder = script.parent().expect("a folder").display().to_string();
    command.args(SETTINGS.iter().map(|(name, value)| format!("{name}={value}")));
    command
        .args(phpt.settings("INI").iter().map(|(name, value)| format!("{name}={}", value.replace("{PWD}", &folder))));
    command.envs(phpt.settings("ENV"));
    // The tests that want to be asked for: a fiber's stack has the size that PHP expects of a thread's.
    command.env("STACK_LIMIT_DEFAULTS_CHECK", "1");
    // To files: pipes would have to be read meanwhile.
    let out = script.with_extension("out");
    let file = || std::fs::File::create(&out).map_err(|e| e.to_string());
    let errors = script.with_extension("errors");
    let error_file = std::fs::File::create(&errors).map_err(|e| e.to_string())?;
    command.stdin(Stdio::null()).stdout(file()?).stderr(error_file);
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err("hangs".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = std::fs::read(&out).map_err(|e| e.to_string())?;
    if !status.success() {
        let said = std::fs::read(&errors).unwrap_or_default();
        return Err(format!("{status}: {}", String::from_utf8_lossy(&said)));
    }
    serde_json::from_slice(&text).map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&text)))
}
