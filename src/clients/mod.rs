//! The text edge: clients' connections, bytes in and responses out.
//!
//! | file | contents |
//! |---|---|
//! | `port` | accepts connections, up to the limit |
//! | `connection` | one connection's place under the limits, and its lines in the log |
//! | `guard` | proxies, access list, and the limits per address |
//! | `addresses` | connections and rate limit of each address |
//! | `rate` | the rate limit's algorithm: pure |
//! | `session` | one connection: reads, responds in order, keeps its limits |
//! | `response_queue` | responses in the order of their lines, while some are held back |
//! | `command_handler` | effects of a line on the gateway and the places |
//!
//! [`crate::line_protocol`] defines the form of lines and responses; this folder moves them.

mod addresses;
mod command_handler;
mod connection;
mod guard;
mod port;
mod rate;
mod response_queue;
#[cfg(test)]
mod samples;
mod session;

pub use port::ClientPort;

/// Size of the system's send buffer for each client, in bytes. It holds several responses of any
/// kind, and is small enough that a client that reads slowly is seen to read: the larger the
/// buffer, the more must be read before the system reports room again.
pub const SEND_BUFFER_BYTES: u32 = 128 * 1024;
