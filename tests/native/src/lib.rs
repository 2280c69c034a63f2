//! C code that only the tests run.
