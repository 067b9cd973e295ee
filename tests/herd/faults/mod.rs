//! Faults of networks and clocks, and changes by operators, in a herd over real gRPC.

mod calls;
mod changes;
mod clocks;
mod networks;
mod proxies;
mod relay;
mod slow;
mod twins;
mod versions;

/// A client's time, in seconds.
const T: &str = "1621464827";
