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

    // A shared library for the tests that open one at run time.
    let library = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("libregisters.so");
    let mut command = cc::Build::new().define("_GNU_SOURCE", None).pic(true).get_compiler().to_command();
    command.args(["-shared", "-o"]).arg(&library).arg("csrc/loaded/registers.c");
    assert!(command.status().expect("the C compiler runs").success(), "{command:?}");
    println!("cargo:rustc-env=SIDESTACK_TEST_REGISTERS={}", library.display());
}
