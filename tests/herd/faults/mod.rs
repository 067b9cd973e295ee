//! What networks, clocks and operators do to a herd over real gRPC, and what
//! must hold.

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
