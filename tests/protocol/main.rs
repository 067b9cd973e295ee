//! The line protocol: commands and answers, limits and access.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod client_guard;
mod client_limits;
mod client_protocol;
mod golden;
mod google;
mod places;
mod proxies;
