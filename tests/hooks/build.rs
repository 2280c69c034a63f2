//! Compiles the cases and, for each library that is there, the guest code that uses it.

use std::fs;

#[path = "../../build/c.rs"]
mod c;

/// pkg-config name, Debian package, the C files that use it.
const LIBRARIES: [(&str, &str, &[&str]); 3] = [
    ("libpq", "libpq-dev", &["csrc/libs/postgres.c"]),
    ("libcurl", "libcurl4-openssl-dev", &["csrc/libs/curl.c"]),
    ("hiredis", "libhiredis-dev", &["csrc/libs/redis.c", "guide/lookup.c"]),
];

fn main() {
    println!("cargo:rerun-if-changed=guide");
    println!("cargo:rerun-if-changed=build.rs");
    let mut build = c::dependent();
    build.include("csrc").flag("-fno-omit-frame-pointer");
    let cases = fs::read_dir("csrc").expect("tests/hooks/csrc").map(|entry| entry.expect("an entry").path());
    build.files(cases.filter(|path| path.extension().is_some_and(|ending| ending == "c")));
    let mut found = Vec::new();
    for (name, package, files) in LIBRARIES {
        println!("cargo:rustc-check-cfg=cfg(has_{name})");
        match pkg_config::Config::new().cargo_metadata(false).probe(name) {
            Ok(library) => {
                println!("cargo:rustc-cfg=has_{name}");
                for folder in library.include_paths.iter().filter(|folder| !folder.ends_with("usr/include")) {
                    build.flag("-isystem").flag(folder);
                }
                build.files(files.iter());
                found.push(library);
            }
            Err(_) => println!("cargo:warning={name} is missing (Debian package {package}): its tests are skipped"),
        }
    }
    build.compile("sidestack_test_hooks");
    // After the archive, which refers to them.
    for library in found {
        library.link_paths.iter().for_each(|folder| println!("cargo:rustc-link-search=native={}", folder.display()));
        library.libs.iter().for_each(|name| println!("cargo:rustc-link-lib={name}"));
    }
}
