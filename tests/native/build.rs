//! Compiles the tests' C code against the library's own headers.

use std::path::PathBuf;
use std::{env, fs};

#[path = "../../build/c.rs"]
mod c;

fn main() {
    let sources = fs::read_dir("csrc").expect("tests/native/csrc").map(|entry| entry.expect("an entry").path());
    c::dependent()
        .files(sources.filter(|path| path.extension().is_some_and(|ending| ending == "c")))
        .compile("sidestack_test_native");

    // Shared libraries for the tests that open one at run time, and find the C API in the program.
    shared("REGISTERS", "csrc/loaded/registers.c", &mut c::dependent());
    shared("PLUGIN", "csrc/loaded/plugin.c", &mut c::dependent());
    shared("THROWS", "csrc/loaded/throws.cc", c::dependent().cpp(true).std("c++17"));
    shared("WAYS", "csrc/loaded/ways.cc", c::dependent().cpp(true).std("c++17"));
    println!("cargo:rustc-link-arg-tests=-rdynamic");
    // For allocations that fail: csrc/failing.c.
    for name in ["malloc", "calloc", "realloc", "sslua_heap_calloc", "sslua_heap_realloc"] {
        println!("cargo:rustc-link-arg-tests=-Wl,--wrap={name}");
    }
}

/// Compiles `source` to a shared library, whose path the tests find in `SIDESTACK_TEST_{name}`; empty where there is no C++
/// compiler.
fn shared(name: &str, source: &str, build: &mut cc::Build) {
    let library = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join(format!("lib{name}.so"));
    let mut command = build.pic(true).get_compiler().to_command();
    command.args(["-shared", "-o"]).arg(&library).arg(source);
    let path = match command.status() {
        Ok(status) if status.success() => library.display().to_string(),
        // Named by the tests that need it.
        Err(_) if source.ends_with(".cc") => String::new(),
        other => panic!("{command:?}: {other:?}"),
    };
    println!("cargo:rustc-env=SIDESTACK_TEST_{name}={path}");
}
