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

    // A shared library for the tests that open one at run time.
    let library = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("libregisters.so");
    let mut command = cc::Build::new().define("_GNU_SOURCE", None).pic(true).get_compiler().to_command();
    command.args(["-shared", "-o"]).arg(&library).arg("csrc/loaded/registers.c");
    assert!(command.status().expect("the C compiler runs").success(), "{command:?}");
    println!("cargo:rustc-env=SIDESTACK_TEST_REGISTERS={}", library.display());
}
