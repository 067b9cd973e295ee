//! The program as people and scripts meet it: arguments, files, output, signals
//! and exit codes.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod bench;
mod binary;
mod commands;
mod docs;
mod golden;
