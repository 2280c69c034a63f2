//! What valgrind has to be told, without its headers. On a bare CPU every request costs six instructions and does
//! nothing.

use super::valgrind_request as request;

const RUNNING_ON_VALGRIND: usize = 0x1001;
const STACK_REGISTER: usize = 0x1501;
const STACK_DEREGISTER: usize = 0x1502;

/// Whether this process runs under valgrind.
pub fn running() -> bool {
    request(0, &[RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0]) != 0
}

/// Tells valgrind that these bytes are a stack, so that it takes a move of the stack pointer there for a switch. Returns
/// valgrind's number for it.
pub fn register_stack(lowest: usize, end: usize) -> usize {
    request(0, &[STACK_REGISTER, lowest, end, 0, 0, 0])
}

/// The stack of this number is gone.
pub fn deregister_stack(id: usize) {
    request(0, &[STACK_DEREGISTER, id, 0, 0, 0, 0]);
}
