//! The line protocol: what clients send, what they are answered, and what they
//! may take of a server.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod client_guard;
mod client_limits;
mod client_protocol;
mod google;
mod places;
