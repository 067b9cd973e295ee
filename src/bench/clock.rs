//! The clock of a run, shared by all threads.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A counter of nanoseconds since its creation.
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

    /// Returns the nanoseconds since the start.
    pub(super) fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// Converts a moment to nanoseconds since 1970. The offset is this machine's clock at
    /// the start of the run, so the result never jumps.
    pub(super) fn unix(&self, now: u64) -> u64 {
        self.unix_start + now
    }
}

/// Converts a duration to nanoseconds. The result saturates at 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}
