//! Compiles the measuring loops against the library's own headers, with the library's own flags.

#[path = "../../build/c.rs"]
mod c;

fn main() {
    c::dependent().files(["csrc/exports.c", "csrc/loops.c"]).compile("sidestack_bench_guest");
}
