//! C code that does its worst, at random and in turn.

#[path = "../../../child/mod.rs"]
mod child;

mod allocations;
mod incarnations;
mod lua;
mod memory;
mod schedules;
