//! An instant that any thread reads and sets, without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// An instant, none before this was made.
#[derive(Debug)]
pub struct AtomicInstant {
    start: Instant,
    /// Since the start.
    nanos: AtomicU64,
}

/// Now.
impl Default for AtomicInstant {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            nanos: AtomicU64::new(0),
        }
    }
}

impl AtomicInstant {
    /// From now on it is `at`.
    pub fn set(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        self.nanos
            .store(nanos.try_into().unwrap_or(u64::MAX), Relaxed);
    }

    /// What it was set to last.
    pub fn get(&self) -> Instant {
        self.start + Duration::from_nanos(self.nanos.load(Relaxed))
    }
}
