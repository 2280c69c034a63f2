use std::ffi::CStr;

#[sidestack::export(stack = fiber)]
fn safe(a: u32) -> u32 {
    a
}

#[sidestack::export(stack = fiber)]
async unsafe fn waits(a: u32) -> u32 {
    a
}

#[sidestack::export(stack = fiber, on_error = 1)]
unsafe fn fails(a: u32) -> anyhow::Result<u32> {
    Ok(a)
}

#[sidestack::export(stack = fiber)]
unsafe fn borrows(a: &CStr) -> usize {
    a.to_bytes().len()
}

fn main() {}
