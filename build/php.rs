// PHP: where it is, how the shim is compiled against it, how it is linked. A module of the build script.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::c;

/// The shim, and PHP behind it.
pub fn build(csrc: &Path) {
    let prefix = prefix();
    // Read by the build scripts of tests that compile C against PHP's headers (DEP_SIDESTACK_PHP).
    println!("cargo:php={}", prefix.display());
    let include = prefix.join("include");
    let mut shim = c::build("csrc");
    shim.flag("-std=gnu11").define("ZEND_ENABLE_STATIC_TSRMLS_CACHE", "1");
    if env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        shim.define("SSPHP_CHECKS", None);
    }
    for folder in ["", "main", "Zend", "TSRM"] {
        // Not held to our warnings.
        shim.flag("-isystem").flag(include.join(folder));
    }
    for folder in
        fs::read_to_string(prefix.join("includes")).expect("a file that build/php.sh wrote").split_whitespace()
    {
        shim.flag("-isystem").flag(folder);
    }
    let mut files: Vec<_> = fs::read_dir(csrc.join("php"))
        .expect("csrc/php")
        .map(|entry| entry.expect("csrc/php").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    files.sort();
    shim.files(files).compile("sidestack_php");
    println!("cargo:rustc-link-search=native={}", prefix.join("lib").display());
    // opcache's objects and PHP's refer to each other, and PHP to the shim: each is needed whole.
    println!("cargo:rustc-link-lib=static:+whole-archive=php_opcache");
    println!("cargo:rustc-link-lib=static=php");
    let libs = fs::read_to_string(prefix.join("libs")).expect("a file that build/php.sh wrote");
    for lib in libs.split_whitespace() {
        println!("cargo:rustc-link-lib=dylib={lib}");
    }
}

/// Where build/php.sh has put PHP.
fn prefix() -> PathBuf {
    println!("cargo:rerun-if-env-changed=SIDESTACK_PHP");
    println!("cargo:rerun-if-env-changed=XDG_CACHE_HOME");
    let script = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("build/php.sh");
    let asked = env::var_os("SIDESTACK_PHP").map(PathBuf::from);
    let prefix = asked.clone().unwrap_or_else(|| {
        let output = Command::new(&script).arg("--where").output().expect("build/php.sh can be run");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    });
    println!("cargo:rerun-if-changed={}", prefix.join("libs").display());
    if !prefix.join("libs").exists() {
        let from = if asked.is_some() { "SIDESTACK_PHP" } else { "its cache" };
        panic!(
            "the feature `php` needs PHP, which is not in {} ({from}). Build it once, in about ten minutes:\n\n    {}\n",
            prefix.display(),
            script.display()
        );
    }
    prefix
}
