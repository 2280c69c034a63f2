//! Names the libraries whose tests are not there because they were missing at build time.

use sidestack_test_hooks::server::skip;

#[test]
fn the_libraries_are_installed() {
    if cfg!(not(has_libpq)) {
        skip("libpq (Debian package libpq-dev)");
    }
    if cfg!(not(has_libcurl)) {
        skip("libcurl (Debian package libcurl4-openssl-dev)");
    }
    if cfg!(not(has_hiredis)) {
        skip("hiredis (Debian package libhiredis-dev)");
    }
}
