//! Compiles the C side of the target `c_api` against the library's own headers.

#[path = "../build/c.rs"]
mod c;

fn main() {
    c::dependent().file("csrc/c_api.c").compile("sidestack_fuzz");
}
