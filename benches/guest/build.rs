//! Compiles the measuring loops against the library's own headers, with the library's own flags.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    let headers = env::var("DEP_SIDESTACK_INCLUDE").expect("sidestack's build script tells where its headers are");
    println!("cargo:rerun-if-changed={headers}");
    cc::Build::new()
        .std("c11")
        .define("_GNU_SOURCE", None)
        .include(&headers)
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Werror")
        .flag("-fstack-clash-protection")
        .flag("-fno-omit-frame-pointer")
        .flag("-ftls-model=initial-exec")
        .file("csrc/exports.c")
        .file("csrc/loops.c")
        .compile("sidestack_bench_guest");
}
