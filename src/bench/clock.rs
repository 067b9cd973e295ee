//! The clock of a run: one for all threads.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Counts nanoseconds from the moment it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    start: Instant,
    unix_start: u64,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            start: Instant::now(),
            unix_start: nanos(unix.unwrap_or_default()),
        }
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// The same moment in nanoseconds since 1970, by the clock of this machine
    /// when the run began: it does not jump.
    pub(super) fn unix(&self, now: u64) -> u64 {
        self.unix_start + now
    }
}

/// In nanoseconds; what does not fit is 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}
