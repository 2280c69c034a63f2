//! Sidestack as a C library. The API is `csrc/sidestack.h`; most of it is C (csrc/api*.c), which the library only exports.

mod engine;
mod names;
