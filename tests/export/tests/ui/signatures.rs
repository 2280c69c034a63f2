use std::ffi::CStr;

#[sidestack::export]
fn generic<T>(value: i32) -> i32 {
    value
}

#[sidestack::export]
fn lasting(text: &'static CStr) -> usize {
    text.to_bytes().len()
}

#[sidestack::export]
fn named<'a>(text: &'a CStr) -> usize {
    text.to_bytes().len()
}

type Lasting = &'static CStr;

#[sidestack::export]
fn hidden(text: Lasting) -> usize {
    text.to_bytes().len()
}

struct Thing;

impl Thing {
    #[sidestack::export]
    fn method(&self) {}
}

#[sidestack::export]
struct NoFunction;

fn main() {}
