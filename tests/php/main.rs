//! The PHP guest through the public API. PHP is started once in the process: all tests use the same settings.

mod basics;
mod cancel;
mod chaos;
mod contexts;
mod databases;
mod endings;
mod foreign;
mod functions;
mod incarnations;
mod limits;
mod objects;
mod pages;
mod requests;
mod speed;
mod stacks;
mod stage;
mod values;
mod variables;
mod zend_fibers;
