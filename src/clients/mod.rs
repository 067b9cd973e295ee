//! The text edge: clients' connections, bytes in and answers out.
//!
//! | file | holds |
//! |---|---|
//! | `listener` | takes connections, up to the limit |
//! | `session` | one connection: reads, answers in order, keeps its limits |
//! | `answers` | answers in the order of their lines, while some wait |
//! | `desk` | what a line does: the gateway's and the places' part in it |
//!
//! What lines and answers look like is [`crate::text`]'s; this folder moves
//! them.

mod answers;
mod desk;
mod listener;
mod session;

pub use listener::{Listener, serve};

use std::time::Duration;

/// How many bytes of answers the system keeps for a client that does not read
/// them. Enough for several answers of any kind, and few enough that a client
/// that reads slowly is seen to read: of a larger buffer, more must be read
/// before the system says that there is room again.
pub const SEND_BUFFER: u32 = 128 * 1024;

/// Limits of the text edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest line in bytes, its end not counted. Default 4096, 512 to 1 MiB.
    /// Too low refuses valid commands; too high costs that much memory for each
    /// connection that sends a line slowly.
    pub max_line: usize,
    /// Most connections at a time; further ones are closed without a word.
    /// Default 20,000. Too low turns clients away; too high runs out of file
    /// descriptors or memory (a silent one holds less than 8 KiB, a busy one up
    /// to about 200 KiB).
    pub max_connections: usize,
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

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_line: 4096,
            max_connections: 20_000,
            idle: Duration::from_secs(10 * 60),
            write: Duration::from_secs(30),
            max_waiting: 16,
        }
    }
}
