//! Compiles the tests' C code. `app.c` is compiled as any C project would do it: by the compiler alone, with no flag and no
//! header of Sidestack's but the generated one.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

#[path = "../../build/c.rs"]
mod c;

fn main() {
    println!("cargo:rerun-if-env-changed=SIDESTACK_HEADER");
    let mut build = c::dependent();
    build.file("csrc/glue.c");

    let object = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("app.o");
    let compiler = build.get_compiler().path().to_path_buf();
    println!("cargo:rustc-env=SIDESTACK_TEST_APP={}", object.display());
    println!("cargo:rustc-env=SIDESTACK_TEST_CC={}", compiler.display());
    // While the header is renewed, what needs it may not compile.
    if env::var_os("SIDESTACK_HEADER").is_none_or(|how| how != "write") {
        let status = Command::new(&compiler)
            .current_dir("csrc")
            .args(["-std=c11", "-O2", "-fPIE", "-c", "app.c", "-o"])
            .arg(&object)
            .status();
        assert!(status.expect("the C compiler runs").success(), "app.c");
        let more = fs::read_dir("csrc").expect("tests/export/csrc").map(|entry| entry.expect("an entry").path());
        let more = more.filter(|path| {
            path.extension().is_some_and(|ending| ending == "c")
                && !path.ends_with("app.c")
                && !path.ends_with("glue.c")
        });
        build.files(more).object(&object);
    }
    build.compile("sidestack_test_export");
}
