//! Counters, histograms, and descriptions of metrics.
//!
//! Counters and histograms are cheap to write from any thread. The folder that owns one decides
//! what it counts.

mod atomic_instant;
mod histogram;
mod metric;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use atomic_instant::AtomicInstant;
pub use histogram::Histogram;
pub use metric::{Labelled, Metric, MetricKind, Series};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the number.
    pub fn add(&self, increment: u64) {
        // Callers add up what they count and often have zero of it: a read-modify-write less.
        if increment > 0 {
            self.0.fetch_add(increment, Relaxed);
        }
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
