//! Logs of a server: its transcript and its events, written without delaying the code that logs.
//!
//! Each server has one log file, `DIR/NAME.log`, with two kinds of entries:
//!
//! - the **transcript**: every line from and to clients, every report from and to neighbours
//!   ([`Transcript`]). It is formatted once and appended in blocks;
//! - **events**: connections, links, rejections, faults. They are `tracing` events, and are written
//!   to the log of the server whose span they are in ([`Router`], [`install`]), since several
//!   servers may share a process.
//!
//! ```text
//! Transcript ─┐  blocks          one lock, one copy        one thread for each log
//!             ├────────► Log ─────────► queue ─────────────► writer ────► NAME.log, or stdout
//! tracing ────┘                   (bounded: drops, counts)             └► NAME.log.1 ...
//! ```
//!
//! In place of files all servers of a process may write to standard output, and lines are text or
//! JSON: `line` forms them. The subscriber of tracing-subscriber with the feature `json` formats
//! events only, keeps what a terminal interprets, and knows nothing of the transcript, so both are
//! formed here, with strings by serde_json.
//!
//! Promises:
//!
//! - An entry is in the file within 200 ms of being appended, while the disk keeps up. Times are
//!   UTC.
//! - Logging never waits for the disk, the terminal or the reader of standard output. Lines that
//!   these do not accept wait in a bounded queue; beyond its bound they are dropped, and a line in
//!   the log at that place gives their number. Messages on the terminal use a queue of the same kind.
//! - Text from outside is escaped ([`escape_into`]), so it cannot forge a line.
//! - Files rotate by size, a bounded number is kept, and no line is split between two files.
//! - A file or directory that is moved or removed is created again at the next block.
//! - No other process rotates the file: it is locked while it is open.
//!
//! A bounded buffer that application threads append to and one thread empties with large writes is
//! the design of every asynchronous logger since log4j 2. The double buffer with a gathering delay
//! is the group commit of databases' logs.
//!
//! The crate for this would be tracing-appender. It has no rotation by size, no mark where lines
//! are missing, and one write for each line: measured with two threads that log lines of 128 bytes,
//! it writes 0.4 to 0.75 million lines a second, where this queue writes 1.2 to 12 million. A
//! report makes several lines.
//!
//! Not included: `fsync` (a power cut may lose the last seconds, and a killed process loses what it
//! gathered, about 50 ms), compression, shipping of logs, and sorting: pages of different
//! connections are in the order in which they are appended, so their times may be out of order by
//! milliseconds. Files are compared by device and inode, so it builds on Unix only.

mod escape;
mod event;
mod handle;
mod line;
mod panics;
mod queue;
mod rotation;
mod router;
mod settings;
mod target;
mod terminal;
mod throttle;
mod timestamp;
mod trace;
mod transcript;
mod writer;

pub use escape::{escape_into, escaped};
pub use handle::{Log, OpenError};
pub use panics::log_panics;
pub use router::Router;
pub use settings::{DEFAULT_LEVEL, LogFormat, LogSettings};
pub use terminal::{flush_terminal, print_to_terminal};
pub use throttle::{LogThrottle, ReasonThrottle, Suppressed};
pub use trace::{AlreadyInstalled, Levels, install};
pub use transcript::Transcript;
