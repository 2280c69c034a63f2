//! Compiles the C parts and, with the `bindgen` feature, regenerates the committed bindings.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-changed=build.rs");
    let csrc = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("csrc");
    // Read by the build scripts of crates that compile C against our headers (DEP_SIDESTACK_INCLUDE).
    println!("cargo:include={}", csrc.display());
    bridge();
}

/// The C of the bridge itself: thread state, deferred signals, ticks.
fn bridge() {
    c_build()
        .files(
            [
                "thread.c",
                "crossing.c",
                "native.c",
                "signals.c",
                "signals_attach.c",
                "registration.c",
                "tick.c",
            ]
                .map(|file| format!("csrc/{file}")),
        )
        .compile("sidestack_bridge");
}

/// Every C file of ours is built with these flags.
fn c_build() -> cc::Build {
    let mut build = cc::Build::new();
    build
        .std("c11")
        .define("_GNU_SOURCE", None)
        .include("csrc")
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Werror")
        // A frame larger than the guard zone must not jump over it.
        .flag("-fstack-clash-protection")
        .flag("-fno-omit-frame-pointer")
        .flag("-ftls-model=initial-exec");
    build
}
