//! The names that the shared library exports for what is written in C.
//!
//! Rust exports from a shared library what Rust defines, so each is defined here: as a jump to the C function's second
//! name (`SS_PUBLIC` in csrc/api.h). There is no frame, so that nothing of Rust is on a fiber's stack. A function that is missing
//! here is found by the test of the library's symbols.

use std::arch::naked_asm;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("write the jump for this processor");

macro_rules! names { ($($name:ident = $own:literal;)*) => {$(
    /// As in csrc/sidestack.h.
    ///
    /// # Safety
    ///
    /// That of the C function; its arguments stay where the caller put them.
    #[unsafe(no_mangle)]
    #[unsafe(naked)]
    pub unsafe extern "C" fn $name() {
        naked_asm!(concat!("jmp ", $own))
    }
)*}}

names! {
    sidestack_version = "ss_api_version";
    sidestack_error_code = "ss_api_error_code";
    sidestack_error_message = "ss_api_error_message";
    sidestack_fail = "ss_api_fail";
    sidestack_results_set = "ss_api_results_set";
    sidestack_results_free = "ss_api_results_free";
    sidestack_function_id = "ss_api_function_id";
    sidestack_call = "ss_api_call";
    sidestack_call_name = "ss_api_call_name";
    sidestack_yield = "ss_api_yield";
    sidestack_poll = "ss_api_poll";
    sidestack_sleep = "ss_api_sleep";
    sidestack_fiber = "ss_api_fiber";
    sidestack_stack = "ss_api_stack";
    sidestack_handle_make = "ss_api_handle_make";
    sidestack_handle_use = "ss_api_handle_use";
    sidestack_handle_kind = "ss_api_handle_kind";
    sidestack_handle_release = "ss_api_handle_release";
    sidestack_callback = "ss_api_callback";
    sidestack_callback_release = "ss_api_callback_release";
    sidestack_callback_call = "ss_api_callback_call";
    sidestack_spawn = "ss_api_spawn";
    sidestack_join = "ss_api_join";
    sidestack_cancel = "ss_api_cancel";
    sidestack_host_here = "ss_api_host_here";
    sidestack_host_free = "ss_api_host_free";
    sidestack_attach = "ss_api_attach";
    sidestack_detach = "ss_api_detach";
}
