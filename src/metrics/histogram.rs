//! How long things took, as Prometheus counts it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from what a line takes in
/// memory to what a client gives up on, three to a decade.
const BOUNDS: [u64; 17] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 5_000_000,
];

/// Counts how long things took. Cheap to write, from any thread.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last counts what is beyond all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// So many things took so long each.
    pub fn observe(&self, took: Duration, things: u64) {
        if things == 0 {
            return;
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // A bucket holds what is up to and with its bound.
        let bucket = BOUNDS.partition_point(|&micros| micros * 1000 < nanos);
        self.buckets[bucket].fetch_add(things, Relaxed);
        self.nanos.fetch_add(nanos.saturating_mul(things), Relaxed);
    }

    /// For each bound, how many things took at most so long; then how many there
    /// were in all, for which there is no bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS.iter().map(|&micros| Duration::from_micros(micros));
        let bounds = bounds.map(Some).chain([None]);
        let mut sum = 0;
        bounds.zip(&self.buckets).map(move |(bound, bucket)| {
            sum += bucket.load(Relaxed);
            (bound, sum)
        })
    }

    /// How long all of them took together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_counts_what_took_at_most_its_bound() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(10), 3);
        histogram.observe(Duration::from_nanos(10_001), 1);
        histogram.observe(Duration::from_secs(60), 2);
        histogram.observe(Duration::from_secs(60), 0);
        let counts: Vec<_> = histogram.cumulative().collect();
        assert_eq!(counts[0], (Some(Duration::from_micros(10)), 3));
        assert_eq!(counts[1], (Some(Duration::from_micros(25)), 4));
        assert_eq!(counts[16], (Some(Duration::from_secs(5)), 4));
        assert_eq!(counts[17], (None, 6));
        assert_eq!(histogram.sum(), Duration::from_nanos(120_000_040_001));
    }
}
