//! What operators and monitoring read of a server: the Operator service and the
//! web port.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod operator;
