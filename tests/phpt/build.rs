//! Compiles what the tests add to PHP: an output sink that gives the turn away, and functions that PHP's own tests call.

use std::env;
use std::path::PathBuf;

#[path = "../../build/c.rs"]
mod c;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_PHP").is_none() {
        return;
    }
    let php = PathBuf::from(env::var("DEP_SIDESTACK_PHP").expect("sidestack's build script tells where PHP is"));
    println!("cargo:rustc-env=SIDESTACK_PHP_TESTS={}", php.join("tests").display());
    let mut build = c::dependent();
    build.flag("-std=gnu11").define("ZEND_ENABLE_STATIC_TSRMLS_CACHE", "1");
    for folder in ["", "main", "Zend", "TSRM"] {
        // Not held to our warnings.
        build.flag("-isystem").flag(php.join("include").join(folder));
    }
    build.file("csrc/functions.c").file("csrc/sink.c").file("csrc/bounds.c").compile("sidestack_test_phpt");
    println!("cargo:rustc-env=SIDESTACK_SLOW_NAMES={}", slow_names().display());
    // Every upcall of C code goes through csrc/bounds.c first.
    println!("cargo:rustc-link-arg=-Wl,--wrap=ss_host_call");
}

/// A library to load before the C library.
fn slow_names() -> PathBuf {
    let library = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("libslow.so");
    let mut compiler = c::dependent().get_compiler().to_command();
    let status = compiler.args(["-shared", "-fPIC", "csrc/slow/names.c", "-o"]).arg(&library).status();
    assert!(status.expect("a C compiler").success(), "csrc/slow does not compile");
    library
}
