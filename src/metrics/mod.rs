//! Numbers about what a program does while it runs: cheap to write from any
//! thread, and read by whoever asks. What they count is up to the folder that
//! owns them.

mod atomic_instant;
mod counter;
mod histogram;

pub use atomic_instant::AtomicInstant;
pub use counter::Counter;
pub use histogram::Histogram;
