//! What must hold of any bytes from outside. Each check panics where it does
//! not; what it compares with is written here from the protocol's words, slow
//! and obvious, and shares nothing with the program.
//!
//! `tests/security/fuzz` calls these with inputs of its own making on every test run,
//! `fuzz/` with those of libFuzzer, so they depend on neither.

// Each of the fuzz targets uses one, and a check may panic.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod greeting;
pub(crate) mod lines;
pub(crate) mod numbers;
pub(crate) mod push;

mod reference;
mod server;
