//! The cancel matrix of Lua and of plain C (see tests/cancel).

#[path = "cancel/mod.rs"]
mod matrix;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use matrix::{Guest, Settings, State};
use sidestack::{Engine, Lua, Native};

struct OfLua;

impl Guest for OfLua {
    const KILLS: bool = true;
    const INAPPLICABLE: &'static [(State, &'static str)] = &[];

    fn engine(settings: Settings) -> Engine {
        matrix::matrix_engine!(Lua::new().script_gc(true).unlimited_collectgarbage(true), settings)
    }

    fn text() -> &'static str {
        "local m, ss = require 'm', require 'sidestack'
         local cleanup = setmetatable({}, { __close = function()
           m.clean()
           local ok, e = pcall(m.nap)
           if not ok and e.code == 'cancelled' then m.refused() end
         end })
         local function hold() local c <close> = cleanup m.hold() end
         return {
           ready = function() local c <close> = cleanup m.at() while true do ss.yield() end end,
           running = function() local c <close> = cleanup m.at() while true do end end,
           waiting = hold,
           nested = function() local c <close> = cleanup m.each(hold) end,
           finalizer = function()
             for _ = 1, 5 do setmetatable({}, { __gc = function() m.at() while true do end end }) end
             collectgarbage()
             error('no finalizer ran')
           end,
           stubborn = function() m.at() while true do pcall(function() while true do end end) end end,
           hung = function() m.block() end,
         }"
    }
}

#[test]
fn lua() {
    matrix::run::<OfLua>();
}

// ---- plain C: these are C functions, written in Rust so that no compiler is needed here ----

/// `sidestack_value` of csrc/sidestack.h.
#[repr(C)]
struct Value {
    tag: u32,
    len: u32,
    payload: u64,
}

type Function = extern "C" fn(*mut c_void, *const Value, u32, *mut c_void) -> c_int;

unsafe extern "C" {
    fn sidestack_call_name(name: *const c_char, args: *mut Value, nargs: u32, results: *mut c_void) -> c_int;
    fn sidestack_yield() -> c_int;
    fn sidestack_poll() -> c_int;
    fn sidestack_callback(
        function: Function,
        data: *mut c_void,
        destroy: Option<extern "C" fn(*mut c_void)>,
        callback: *mut Value,
    ) -> c_int;
    fn sidestack_callback_release(callback: Value) -> c_int;
}

const OK: c_int = 0;
/// What it says when the interpreter was given up: `SIDESTACK_ERROR`.
const LOST: c_int = 1;

fn call(name: &CStr) -> c_int {
    // SAFETY: the library's own function, on a fiber; there are no arguments and no results.
    unsafe { sidestack_call_name(name.as_ptr(), ptr::null_mut(), 0, ptr::null_mut()) }
}

fn clean_up() {
    call(c"m.clean");
    if call(c"m.nap") != OK {
        call(c"m.refused");
    }
}

extern "C" fn ready() -> i64 {
    call(c"m.at");
    // SAFETY: on a fiber.
    while unsafe { sidestack_yield() } == OK {}
    clean_up();
    0
}

extern "C" fn running() -> i64 {
    call(c"m.at");
    // SAFETY: on a fiber.
    while unsafe { sidestack_poll() } == OK {}
    clean_up();
    0
}

extern "C" fn waiting() -> i64 {
    call(c"m.hold");
    clean_up();
    0
}

extern "C" fn hold(_: *mut c_void, _: *const Value, _: u32, _: *mut c_void) -> c_int {
    waiting();
    1
}

extern "C" fn nested() -> i64 {
    let mut callback = Value { tag: 0, len: 0, payload: 0 };
    // SAFETY: a function of the right type without data, and a place for its value, which is given back below.
    unsafe {
        assert_eq!(sidestack_callback(hold, ptr::null_mut(), None, &raw mut callback), OK);
        sidestack_call_name(c"m.each".as_ptr(), &raw mut callback, 1, ptr::null_mut());
        sidestack_callback_release(callback);
    }
    clean_up();
    0
}

extern "C" fn stubborn() -> i64 {
    call(c"m.at");
    // SAFETY: on a fiber.
    while unsafe { sidestack_poll() } != LOST {}
    0
}

extern "C" fn hung() -> i64 {
    call(c"m.block");
    0
}

struct OfC;

impl Guest for OfC {
    const KILLS: bool = false;
    const INAPPLICABLE: &'static [(State, &'static str)] = &[(State::Finalizer, "plain C has none")];

    fn engine(settings: Settings) -> Engine {
        type Entry = extern "C" fn() -> i64;
        // SAFETY: they do what their signatures say.
        let guest = unsafe {
            Native::new()
                .entry("ready", ready as Entry)
                .entry("running", running as Entry)
                .entry("waiting", waiting as Entry)
                .entry("nested", nested as Entry)
                .entry("stubborn", stubborn as Entry)
                .entry("hung", hung as Entry)
        };
        matrix::matrix_engine!(guest, settings)
    }

    fn text() -> &'static str {
        ""
    }
}

#[test]
fn plain_c() {
    matrix::run::<OfC>();
}
