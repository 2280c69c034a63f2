// How C is compiled: the library's own, and that of the tests and benchmarks beside it. A module of their build scripts.

use std::path::Path;

/// A compilation with the library's flags, against the headers in `include`.
pub fn build(include: impl AsRef<Path>) -> cc::Build {
    let mut build = cc::Build::new();
    build
        .std("c11")
        .define("_GNU_SOURCE", None)
        .include(include)
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Werror")
        // A frame larger than the guard zone must not jump over it.
        .flag("-fstack-clash-protection")
        .flag("-fno-omit-frame-pointer")
        // Without it a call from Lua costs up to 8 % more or less, by what else is linked.
        .flag("-falign-functions=64")
        .flag("-ftls-model=initial-exec");
    build
}

/// The same for a crate that depends on the library, whose C is in its folder `csrc`.
#[allow(dead_code, reason = "not for the library itself")]
pub fn dependent() -> cc::Build {
    println!("cargo:rerun-if-changed=csrc");
    let headers = std::env::var("DEP_SIDESTACK_INCLUDE").expect("sidestack's build script tells where its headers are");
    println!("cargo:rerun-if-changed={headers}");
    build(headers)
}
