//! Compiles the C parts and, with the `bindgen` feature, regenerates the committed bindings.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-changed=build.rs");
    let csrc = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("csrc");
    bridge();
    #[cfg(feature = "lua")]
    lua(&csrc);
    // Read by the build scripts of crates that compile C against our headers (DEP_SIDESTACK_INCLUDE). Last, because
    // lua-src says the same of its own and the last one counts.
    println!("cargo:include={}", csrc.display());
}

/// Lua from the `lua-src` crate, its sources unmodified, configured by csrc/lua/config.h; then our shim.
#[cfg(feature = "lua")]
fn lua(csrc: &std::path::Path) {
    println!("cargo:rerun-if-env-changed=CFLAGS");
    let before = env::var("CFLAGS").ok();
    let config = csrc.join("lua/config.h");
    // -MD: the dependency files tell where lua-src keeps the sources, for the internal headers that the shim needs.
    let flags = format!(
        "{} -include {} -MD -fstack-clash-protection -fno-omit-frame-pointer -ftls-model=initial-exec",
        before.as_deref().unwrap_or_default(),
        config.display()
    );
    // SAFETY: a build script of one thread; nobody reads the environment at the same time.
    unsafe { env::set_var("CFLAGS", flags) };
    let artifacts = lua_src::Build::new().build(lua_src::Lua54);
    // SAFETY: as above.
    match before {
        Some(flags) => unsafe { env::set_var("CFLAGS", flags) },
        None => unsafe { env::remove_var("CFLAGS") },
    }

    let mut shim = c_build();
    shim.define("LUA_USE_LINUX", None)
        .define("LUA_COMPAT_5_3", None)
        .flag("-isystem")
        .flag(lua_sources(artifacts.lib_dir()));
    let mut files: Vec<_> = std::fs::read_dir(csrc.join("lua"))
        .expect("csrc/lua")
        .map(|entry| entry.expect("csrc/lua").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    files.sort();
    shim.files(files).compile("sidestack_lua");
    // After the shim, which refers to it.
    artifacts.print_cargo_metadata();
    println!("cargo:rustc-link-lib=m");
}

/// The folder of Lua's sources, from a dependency file that their compilation left in `folder`.
#[cfg(feature = "lua")]
fn lua_sources(folder: &std::path::Path) -> PathBuf {
    for entry in std::fs::read_dir(folder).expect("lua-src's output folder") {
        let path = entry.expect("lua-src's output folder").path();
        if path.to_string_lossy().ends_with("lapi.d") {
            let text = std::fs::read_to_string(&path).expect("a readable dependency file");
            let source = text.split_whitespace().find(|word| word.ends_with("/lapi.c"));
            let source = PathBuf::from(source.expect("lapi.d names lapi.c"));
            return source.parent().expect("a folder").to_path_buf();
        }
    }
    panic!("no lapi.d in {}: does the C compiler know -MD?", folder.display());
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
