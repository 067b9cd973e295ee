//! Tests of TLS, of callers that are not neighbours, and of untrusted input.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod attacks;
mod bounds;
mod fuzz;
mod peer_port;
mod rejections;
mod streams;
mod tls;
