//! Properties of any untrusted input. Each check panics if its property does not hold. The
//! references that it compares with follow the text of the protocol, slow and obvious, and share no
//! code with the program.
//!
//! `tests/security/fuzz` calls these with its own inputs on every test run, and `fuzz/` with those
//! of libFuzzer, so they depend on neither.

// Each fuzz target uses one check, and a check may panic.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod greeting;
pub(crate) mod lines;
pub(crate) mod numbers;
pub(crate) mod push;

mod reference;
mod server;
