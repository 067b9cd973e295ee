//! TLS, callers that are no neighbours, and input from outside.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod fuzz;
mod refusals;
mod strangers;
mod streams;
mod tls;
