//! Compiles the tests' C code against the library's own headers.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    let headers = env::var("DEP_SIDESTACK_INCLUDE").expect("sidestack's build script tells where its headers are");
    println!("cargo:rerun-if-changed={headers}");
    let sources = fs::read_dir("csrc").expect("tests/native/csrc").map(|entry| entry.expect("an entry").path());
    let mut build = cc::Build::new();
    build
        .std("c11")
        .define("_GNU_SOURCE", None)
        .include(&headers)
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Werror")
        .flag("-fno-omit-frame-pointer")
        .flag("-ftls-model=initial-exec")
        .files(sources.filter(|path| path.extension().is_some_and(|ending| ending == "c")));
    build.compile("sidestack_test_native");

    // Shared libraries for the tests that open one at run time, and find the C API in the program.
    shared("REGISTERS", "csrc/loaded/registers.c", false, &headers);
    shared("PLUGIN", "csrc/loaded/plugin.c", false, &headers);
    shared("THROWS", "csrc/loaded/throws.cc", true, &headers);
    println!("cargo:rustc-link-arg-tests=-rdynamic");
}

/// Compiles `source` to a shared library, whose path the tests find in `SIDESTACK_TEST_{name}`; empty where there is no C++
/// compiler.
fn shared(name: &str, source: &str, cpp: bool, headers: &str) {
    let library = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join(format!("lib{name}.so"));
    let mut build = cc::Build::new();
    build.cpp(cpp).std(if cpp { "c++17" } else { "c11" }).define("_GNU_SOURCE", None).pic(true).include(headers);
    let mut command = build.flag("-Wall").flag("-Wextra").flag("-Werror").get_compiler().to_command();
    command.args(["-shared", "-o"]).arg(&library).arg(source);
    let path = match command.status() {
        Ok(status) if status.success() => library.display().to_string(),
        // Named by the tests that need it.
        Err(_) if cpp => String::new(),
        other => panic!("{command:?}: {other:?}"),
    };
    println!("cargo:rustc-env=SIDESTACK_TEST_{name}={path}");
}
