//! How the shared library is linked: it exports the public names (src/names.rs, src/engine.rs) and nothing that comes out of
//! the archives that it is made of.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    let version = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets it");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsidestack.so.{version}");
    // The bounds of the sections that the table of exported functions lies in are nobody's business.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,start-stop-visibility=hidden");
}
