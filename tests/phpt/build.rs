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
    // Every upcall of C code goes through csrc/bounds.c first.
    println!("cargo:rustc-link-arg=-Wl,--wrap=ss_host_call");
}
