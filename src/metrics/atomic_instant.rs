//! An instant that threads read and set without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// An instant, not earlier than the creation of this value.
#[derive(Debug)]
pub struct AtomicInstant {
    start: Instant,
    /// Nanoseconds since `start`.
    nanos: AtomicU64,
}

/// The current instant.
impl Default for AtomicInstant {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            nanos: AtomicU64::new(0),
        }
    }
}

impl AtomicInstant {
    /// Sets the instant.
    pub fn set(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        self.nanos
            .store(nanos.try_into().unwrap_or(u64::MAX), Relaxed);
    }

    /// Returns the instant that was set last.
    pub fn get(&self) -> Instant {
        self.start + Duration::from_nanos(self.nanos.load(Relaxed))
    }
}
