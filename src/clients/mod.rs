//! The text edge: clients' connections, bytes in and responses out.
//!
//! | file | contents |
//! |---|---|
//! | `port` | accepts connections, up to the limit |
//! | `guard` | access list, and the limits per address |
//! | `addresses` | connections and rate limit of each address |
//! | `rate` | the rate limit's algorithm: pure |
//! | `session` | one connection: reads, responds in order, keeps its limits |
//! | `response_queue` | responses in the order of their lines, while some wait |
//! | `command_handler` | effects of a line on the gateway and the places |
//!
//! [`crate::line_protocol`] defines the form of lines and responses; this folder moves them.

mod addresses;
mod command_handler;
mod guard;
mod port;
mod rate;
mod response_queue;
#[cfg(test)]
mod samples;
mod session;

pub use port::ClientPort;

use std::time::Duration;

use crate::model::networks::Networks;

/// Size of the system's send buffer for each client, in bytes. It holds several responses of any
/// kind, and is small enough that a client that reads slowly is seen to read: the larger the
/// buffer, the more must be read before the system reports room again.
pub const SEND_BUFFER_BYTES: u32 = 128 * 1024;

/// Limits of the text edge. `config/herd.toml` explains each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Maximum length of a line in bytes, without its end: 512 to 1 MiB, 4096 by default.
    pub max_line: usize,
    /// Maximum number of open connections: 20,000 by default. Further ones are closed. A silent
    /// connection takes less than 8 KiB of memory, a busy one up to about 200 KiB.
    pub max_connections: usize,
    /// Networks from which clients may connect: all by default. Others are closed before TLS.
    pub networks: Networks,
    /// Maximum number of open connections of one address, or of one /64 of IPv6: 1 to a million,
    /// unlimited by default. Further ones are closed before TLS.
    pub connections_per_address: Option<usize>,
    /// Maximum number of lines per second of one address, or of one /64 of IPv6: 1 to a million,
    /// unlimited by default. As many may come at once after a quiet second; further ones are
    /// delayed.
    pub commands_per_second: Option<u32>,
    /// Time of silence after which a client is disconnected: 100 ms to 30 days, 10 min by default.
    /// Time in which it waits for the server does not count.
    pub idle: Duration,
    /// Time after which a client is disconnected that reads nothing of a waiting response: 100 ms
    /// to 1 h, 30 s by default.
    pub write: Duration,
    /// Maximum number of concurrent WHATSATs of one connection that wait for places: 1 to 1000, 16
    /// by default. Further lines wait.
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
