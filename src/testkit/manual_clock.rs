//! A clock that stands still until a test sets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::gateway::Clock;
use crate::model::timestamp::UnixNanos;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A clock that shows the same time until it is set. Clones are one clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Creates a clock that shows this time, in seconds since 1970.
    pub fn at(seconds: i64) -> Self {
        Self(Arc::new(AtomicI64::new(seconds * NANOS_PER_SECOND)))
    }

    /// Sets the time, in seconds since 1970.
    pub fn set(&self, seconds: i64) {
        self.0.store(seconds * NANOS_PER_SECOND, Relaxed);
    }

    /// Moves the time forward, or back, by seconds.
    pub fn step(&self, seconds: i64) {
        self.0.fetch_add(seconds * NANOS_PER_SECOND, Relaxed);
    }

    /// Returns the clock for a server.
    pub fn clock(&self) -> Clock {
        let nanos = self.0.clone();
        Clock::new(move || UnixNanos(nanos.load(Relaxed)))
    }
}
