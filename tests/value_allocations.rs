//! Values cross without allocations once the buffers have grown.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use serde::{Deserialize, Serialize};
use sidestack::value::{Flat, Results};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

#[derive(Serialize, Deserialize)]
struct Point {
    x: f64,
    y: Option<i32>,
    unit: Unit,
}

#[derive(Serialize, Deserialize)]
enum Unit {
    Meters,
    Feet { long: bool },
}

#[test]
fn steady_state() {
    let mut flat = Flat::new();
    let address = std::net::Ipv4Addr::LOCALHOST;
    let points =
        [Point { x: 1.5, y: None, unit: Unit::Meters }, Point { x: 2.0, y: Some(1), unit: Unit::Feet { long: true } }];
    let encode = |flat: &mut Flat| {
        flat.clear();
        flat.push_args(&(1, 2.5, "some text", true, None::<i32>, &points[..], address, 'x')).expect("encodes");
    };
    assert!(allocations(|| encode(&mut flat)) > 0, "the counter works");
    assert_eq!(allocations(|| encode(&mut flat)), 0, "encoding");
    let decode = || {
        type All = (i32, f64, String, bool, Option<i32>, [Point; 2], std::net::Ipv4Addr, char);
        let all: All = Results::of(&flat).decode().expect("decodes");
        assert_eq!((all.2.as_str(), all.5[0].x), ("some text", 1.5));
    };
    assert_eq!(allocations(decode), 1, "decoding allocates the string");
}
