//! What a herd server writes down, and how it gets to the disk without holding anybody up.
//!
//! Each server has one log file, `DIR/NAME.log`. Two kinds of entries end there:
//!
//! - the **transcript**: every line in and out of clients, every report in and out of neighbours
//!   ([`Transcript`]). It is formatted once and handed over in blocks;
//! - **events**: connections, links, refusals, faults. They are `tracing` events, and go to the
//!   log of the server whose span they are in ([`Router`], [`install`]), since several servers
//!   may share a process.
//!
//! ```text
//! Transcript ─┐  blocks          one lock, one copy        one thread for each log
//!             ├────────► Log ────────► backlog ────────────► writer ────► NAME.log
//! tracing ────┘                   (bounded: drops, counts)             └► NAME.log.1 ...
//! ```
//!
//! Promises:
//!
//! - An entry is in the file within a fifth of a second of being handed over, while the disk keeps
//!   up. Times are UTC.
//! - Whoever logs never waits for the disk. What the disk does not take waits in a bounded backlog;
//!   past that, lines are dropped, and a line in the file says how many, where they are missing.
//! - Text from outside is escaped ([`escape_into`]), so nobody can forge a line.
//! - Files rotate by size, a bounded number is kept, and no line is split between two.
//! - A file or directory that is moved or removed is made again at the next block.
//!
//! The shape, a bounded buffer that application threads append to and one thread empties with large
//! writes, is that of every asynchronous logger since log4j 2; the double buffer with
//! a gathering delay is group commit, as databases do it for their logs.
//!
//! What this does not do: `fsync` (after a power cut the last seconds may be missing, and a
//! process that is killed takes along what it gathered, about 50 ms), compress, ship logs
//! elsewhere, or sort: pages of different connections are in the order of being handed over,
//! so their times may be out of order by milliseconds. Files are compared by device and inode, so
//! it builds on Unix only.

mod backlog;
mod escape;
mod event;
mod handle;
mod level;
mod locks;
mod outage;
mod panics;
mod queue;
mod rotation;
mod router;
mod settings;
mod stamp;
mod terminal;
mod throttle;
mod trace;
mod transcript;
mod writer;

pub use escape::escape_into;
pub use handle::{Log, OpenError};
pub use level::{Level, UnknownLevel};
pub use panics::log_panics;
pub use router::Router;
pub use settings::LogSettings;
pub use terminal::{finish_telling, tell};
pub use throttle::{LogThrottle, ReasonThrottle, unwritten};
pub use trace::{AlreadyInstalled, Levels, install};
pub use transcript::Transcript;
