//! PHP's own tests of Fibers and of its stack limit, each in two copies that take turns at every output.
//!
//! The tests come with PHP's source (build/php.sh keeps them). Each runs in a process of its own, with its own settings, as two
//! pages of one interpreter, whose output must be what the test expects, both times.

mod expect;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::future::join_all;
use sidestack::php::{Body, Page};
use sidestack::{Engine, Php};
use test::Test;

/// What PHP's own runner sets.
const SETTINGS: &[(&str, &str)] = &[
    ("error_reporting", "32767"),
    ("display_errors", "1"),
    ("log_errors", "0"),
    ("html_errors", "0"),
    ("memory_limit", "128M"),
    ("precision", "14"),
    ("serialize_precision", "-1"),
    ("zend.assertions", "1"),
    ("zend.exception_ignore_args", "0"),
    ("zend.exception_string_param_max_len", "15"),
    ("variables_order", "EGPCS"),
    ("opcache.enable", "0"),
    ("implicit_flush", "1"),
];

/// Runs before each test: at every output the other copy has its turn. And the one function of PHP's extension for tests that
/// these tests call, which only prints what it finds.
const PREPENDED: &str = r#"<?php
if (!getenv('PHPT_AT_THE_END')) ob_start(function ($text) { Sidestack\give_way(); return $text; }, 1);
function zend_test_zend_call_stack_get() {
    return ['base' => '0x7f', 'max_size' => '0x80', 'position' => '0x7e', 'EG(stack_limit)' => '0x1'];
}
"#;

/// Not for Sidestack, and why.
const INAPPLICABLE: &[(&str, &str)] =
    &[("stack_limit/stack_limit_009.phpt", "calls a C function of PHP's extension for tests that uses the stack up")];

/// These end where the stack or the memory does, where no function can run, one that gives the other copy its turn neither:
/// they take turns where the response's pieces cross, and by time slices.
const AT_THE_END: &[&str] = &[
    "fibers/out-of-memory-in-recursive-fiber.phpt",
    "stack_limit/stack_limit_005.phpt",
    "stack_limit/stack_limit_012.phpt",
    "stack_limit/stack_limit_013.phpt",
    "stack_limit/stack_limit_014.phpt",
    "stack_limit/stack_limit_015.phpt",
];

#[test]
fn php_s_own_tests_pass_twice_at_once() {
    let tests = tests();
    assert!(tests.len() >= 100, "only {} tests in PHP's folder", tests.len());
    let (mut passed, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    for path in tests {
        let name = format!(
            "{}/{}",
            path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy(),
            path.file_name().expect("a name").to_string_lossy()
        );
        if let Some((_, why)) = INAPPLICABLE.iter().find(|(known, _)| *known == name) {
            skipped.push(format!("{name}: {why}"));
            continue;
        }
        match run(&path, AT_THE_END.contains(&name.as_str())) {
            Outcome::Passed => passed += 1,
            Outcome::Skipped(why) => skipped.push(format!("{name}: {why}")),
            Outcome::Failed(why) => failed.push(format!("--- {name}\n{why}")),
        }
    }
    println!("{passed} passed; skipped:\n  {}", skipped.join("\n  "));
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

/// The tests that build/php.sh keeps.
fn tests() -> Vec<PathBuf> {
    let asked = std::env::var_os("SIDESTACK_PHP").map(PathBuf::from);
    let prefix = asked.unwrap_or_else(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/php.sh");
        let output = Command::new(script).arg("--where").output().expect("build/php.sh runs");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    });
    let mut all = Vec::new();
    for folder in ["fibers", "stack_limit"] {
        let entries = std::fs::read_dir(prefix.join("tests").join(folder)).expect("PHP's tests");
        all.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    all.retain(|path| path.extension().is_some_and(|extension| extension == "phpt"));
    all.sort();
    all
}

fn run(path: &Path, at_the_end: bool) -> Outcome {
    let test = Test::read(path);
    if let Some(why) = test.inapplicable() {
        return Outcome::Skipped(why);
    }
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(path.parent().expect("a folder")).expect("PHP's tests") {
        let entry = entry.expect("an entry").path();
        if entry.extension().is_some_and(|extension| extension == "inc") {
            std::fs::copy(&entry, folder.path().join(entry.file_name().expect("a name"))).expect("copied");
        }
    }
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    if let Some(skip) = test.section("SKIPIF") {
        let outputs = child(folder.path(), &format!("{name}.skip"), skip, "", 1, false);
        if let Ok(outputs) = outputs
            && outputs[0].trim_start().to_lowercase().starts_with("skip")
        {
            return Outcome::Skipped(outputs[0].trim().to_owned());
        }
    }
    let code = test.section("FILE").expect("a test has its code");
    match child(folder.path(), &name, code, test.section("INI").unwrap_or_default(), 2, at_the_end) {
        Err(why) => Outcome::Failed(why),
        Ok(outputs) => {
            for (copy, output) in outputs.iter().enumerate() {
                if let Err(expected) = test.check(output.trim()) {
                    return Outcome::Failed(format!("copy {copy} gave\n{}\ninstead of\n{expected}", output.trim()));
                }
            }
            Outcome::Passed
        }
    }
}

/// Runs code in a process of its own; what its copies gave.
fn child(
    folder: &Path,
    name: &str,
    code: &str,
    settings: &str,
    copies: usize,
    at_the_end: bool,
) -> Result<Vec<String>, String> {
    let file = folder.join(format!("{name}.php"));
    std::fs::write(&file, code).expect("written");
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "one", "--ignored", "--nocapture"])
        .env("PHPT_FILE", &file)
        .env("PHPT_COPIES", copies.to_string())
        .envs(at_the_end.then_some(("PHPT_AT_THE_END", "1")))
        .env("PHPT_SETTINGS", settings.replace("{PWD}", &folder.display().to_string()))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("this program runs");
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if begun.elapsed() > Duration::from_secs(60) => {
                child.kill().expect("a child");
                return Err("it does not end".into());
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    if !status.success() {
        return Err(format!("{status}\n{log}"));
    }
    Ok((0..copies)
        .map(|copy| {
            let bytes = std::fs::read(file.with_extension(format!("out{copy}"))).expect("its output");
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .collect())
}

/// The child: a file, in so many copies at once.
#[test]
#[ignore = "run by the other one, in a process of its own"]
fn one() {
    let file = PathBuf::from(std::env::var_os("PHPT_FILE").expect("the parent sets it"));
    let copies: usize = std::env::var("PHPT_COPIES").expect("the parent sets it").parse().expect("a number");
    let prepended = file.with_extension("prepended");
    std::fs::write(&prepended, PREPENDED).expect("written");
    let mut php = Php::new().ini("auto_prepend_file", prepended.display().to_string());
    for (name, value) in SETTINGS {
        php = php.ini(*name, *value);
    }
    let settings = std::env::var("PHPT_SETTINGS").expect("the parent sets it");
    for line in settings.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';')) {
        let (name, value) = line.split_once('=').expect("name=value");
        php = php.ini(name.trim(), value.trim());
    }
    let engine =
        Engine::builder(php).threads(1).memory(8 << 30).tick(Duration::from_millis(1)).build().expect("an engine");
    let pages = (0..copies).map(|_| {
        let request = http::Request::get("/").body(Body::from("")).expect("a request");
        let call = engine.page(Page::new(&file, request)).deadline(Duration::from_secs(50));
        async {
            let body = call.await.map_err(|error| error.to_string())?.into_body();
            body.collect().await.map_err(|error| error.to_string())
        }
    });
    for (copy, output) in block_on(join_all(pages.collect::<Vec<_>>())).into_iter().enumerate() {
        let output = output.unwrap_or_else(|error| format!("[{error}]").into_bytes());
        std::fs::write(file.with_extension(format!("out{copy}")), output).expect("written");
    }
}
