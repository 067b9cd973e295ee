//! The text edge: clients' connections, bytes in and answers out.
//!
//! | file | holds |
//! |---|---|
//! | `listener` | takes connections, up to the limit |
//! | `guard` | who is let in: by network, and by what its address has already |
//! | `addresses` | what is kept of each address that clients come from |
//! | `rate` | how many lines may be taken in a time: pure |
//! | `session` | one connection: reads, answers in order, keeps its limits |
//! | `response_queue` | answers in the order of their lines, while some wait |
//! | `command_handler` | what a line does: the gateway's and the places' part in it |
//!
//! What lines and answers look like is [`crate::line_protocol`]'s; this folder moves
//! them.

mod addresses;
mod command_handler;
mod guard;
mod listener;
mod rate;
mod response_queue;
#[cfg(test)]
mod samples;
mod session;

pub use guard::{GuardedListener, WithPermit};
pub use listener::{Listener, serve};

use std::time::Duration;

use crate::model::networks::Networks;

/// How many bytes of answers the system keeps for a client that does not read
/// them. Enough for several answers of any kind, and few enough that a client
/// that reads slowly is seen to read: of a larger buffer, more must be read
/// before the system says that there is room again.
pub const SEND_BUFFER: u32 = 128 * 1024;

/// Limits of the text edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Longest line in bytes, its end not counted. Default 4096, 512 to 1 MiB.
    /// Too low refuses valid commands; too high costs that much memory for each
    /// connection that sends a line slowly.
    pub max_line: usize,
    /// Most connections at a time; further ones are closed without a word.
    /// Default 20,000. Too low turns clients away; too high runs out of file
    /// descriptors or memory (a silent one holds less than 8 KiB, a busy one up
    /// to about 200 KiB).
    pub max_connections: usize,
    /// From which networks clients may connect; others are closed at once,
    /// before TLS. Default from everywhere. A network too few locks clients out;
    /// one too many lets strangers in. Each connection is held against all of
    /// them, a few nanoseconds each.
    pub networks: Networks,
    /// Most connections of one address at a time, or of one /64 of IPv6; further
    /// ones are closed without a word, before TLS. Default no limit, 1 to a
    /// million. Too low turns away clients that share an address, behind NAT or
    /// a proxy; too high lets one machine take all of `max_connections`.
    pub connections_per_address: Option<usize>,
    /// Most lines a second of one address, or of one /64 of IPv6, over all its
    /// connections; as many may come at once after a quiet second. Past it the
    /// server reads on later, and answers all. Default no limit, 1 to a million.
    /// Too low delays clients that share an address; too high lets one machine
    /// take a server's time.
    pub commands_per_second: Option<u32>,
    /// A client that sends nothing for so long is disconnected; the time in
    /// which it waits for places does not count. Default 10 min, 100 ms to
    /// 30 days. Too low cuts quiet clients; too high keeps dead ones.
    pub idle: Duration,
    /// A client that takes nothing of a waiting answer for so long is
    /// disconnected. Default 30 s, 100 ms to 1 h. Too low cuts clients on bad
    /// networks; too high keeps answers for those that never read.
    pub write: Duration,
    /// Most WHATSATs of one connection that wait for places side by side; past
    /// that its further lines wait too. Default 16, 1 to 1000. Too low slows a
    /// client that asks much over one connection; too high lets it crowd out
    /// others at the places provider.
    pub max_waiting: usize,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            max_line: 4096,
            max_connections: 20_000,
            networks: Networks::default(),
            connections_per_address: None,
            commands_per_second: None,
            idle: Duration::from_secs(10 * 60),
            write: Duration::from_secs(30),
            max_waiting: 16,
        }
    }
}
