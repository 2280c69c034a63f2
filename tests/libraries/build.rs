//! Compiles the C code between the libraries and the public C API.
//!
//! SQLite and zlib are built from their own sources by the crates of their bindings. expat is Debian's; where it is missing
//! its tests say so.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rustc-check-cfg=cfg(expat)");
    let expat = pkg_config::Config::new().cargo_metadata(false).probe("expat").ok();
    let mut build = cc::Build::new();
    build.std("c11").define("_GNU_SOURCE", None);
    for flag in ["-Wall", "-Wextra", "-Werror", "-fno-omit-frame-pointer"] {
        build.flag(flag);
    }
    for library in ["SIDESTACK", "SQLITE3", "Z"] {
        let include = env::var(format!("DEP_{library}_INCLUDE")).expect("the library's build script tells it");
        println!("cargo:rerun-if-changed={include}");
        build.include(include);
    }
    build.files(["csrc/order.c", "csrc/sqlite.c", "csrc/sqlite_mutex.c", "csrc/inflate.c"]);
    match &expat {
        Some(expat) => {
            println!("cargo:rustc-cfg=expat");
            build.includes(&expat.include_paths).file("csrc/sax.c");
        }
        // Looked for again each time.
        None => println!("cargo:rerun-if-changed=/usr/include/expat.h"),
    }
    build.compile("sidestack_test_libraries");
    // After the code that needs it.
    for name in expat.iter().flat_map(|expat| &expat.libs) {
        println!("cargo:rustc-link-lib={name}");
    }
}
