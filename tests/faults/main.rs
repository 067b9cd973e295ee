//! What networks, clocks and operators do to a herd over real gRPC, and what
//! must hold.

// A test may panic.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod changes;
mod clocks;
mod load;
mod networks;
mod proxies;
mod relay;
mod slow;
mod twins;
mod versions;

/// A time of the clients' clocks.
const T: &str = "1621464827";
