//! What networks, clocks and operators do to a herd over real gRPC, and what
//! must hold.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod proxies;
