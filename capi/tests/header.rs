//! The public header, by itself, as C99 and as C++17 with every warning an error.

use std::path::Path;
use std::process::Command;

const USES: &str = r#"
#include "sidestack.h"
static int function(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  sidestack_value run[3];
  size_t len;
  (void)data;
  if (nargs > 0 && sidestack_text_of(&args[0], &len) != NULL) return sidestack_fail("text", "is not wanted");
  run[0] = sidestack_map(1);
  run[1] = sidestack_string("number");
  run[2] = sidestack_float(nargs ? sidestack_float_or(&args[0], 1) : (double)sidestack_int_or(&run[1], 0));
  if (sidestack_next(run) != run + 3 || sidestack_tag_of(run) != SIDESTACK_MAP) return SIDESTACK_ERROR;
  run[0] = nargs ? sidestack_list(2) : sidestack_bytes("b", 1);
  run[1] = nargs ? sidestack_bool(1) : sidestack_nil();
  run[2] = sidestack_text("text", 4);
  return nargs ? sidestack_results_set(results, run, 1) : sidestack_return(results, sidestack_int(1));
}
sidestack_function exported(void);
sidestack_function exported(void) { return function; }
"#;

fn compile(compiler: &str, language: &str, standard: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("uses");
    std::fs::write(&source, USES).expect("a file");
    let headers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../csrc");
    let mut command = Command::new(compiler);
    command
        .args([
            "-x",
            language,
            standard,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-Wconversion",
            "-c",
            "-o",
            "/dev/null",
        ])
        .arg("-I")
        .arg(headers)
        .arg(&source);
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(e) => println!("SKIPPED: {compiler}: {e}"),
    }
}

#[test]
fn compiles_as_c99() {
    compile("cc", "c", "-std=c99");
}

#[test]
fn compiles_as_cpp17() {
    compile("c++", "c++", "-std=c++17");
}

/// Each comment before a function's declaration ends with [thread; may suspend?; may raise?].
#[test]
fn every_function_is_tagged() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../csrc/sidestack.h");
    let header = std::fs::read_to_string(header).expect("the header");
    let (mut tagged, mut comment) = (0, String::new());
    for line in header.lines() {
        if line.starts_with("/*") {
            comment.clear();
        }
        if line.starts_with("/*") || line.starts_with(" *") || line.starts_with("   ") {
            comment.push_str(line);
        } else if line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains('(') {
            let inline = line.starts_with("static inline");
            let tag = comment.rsplit_once('[').map(|(_, tag)| tag.matches(';').count());
            assert!(inline || tag == Some(2), "no tag: {line}\n{comment}");
            tagged += usize::from(!inline);
        } else if line.is_empty() {
            comment.clear();
        }
    }
    assert!(tagged > 30, "only {tagged} functions found");
}
