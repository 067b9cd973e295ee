//! Durations, counted in buckets as Prometheus does.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

/// Upper bounds of the buckets in microseconds, three for each decade: from a line answered from
/// memory to the time after which clients give up.
const BUCKET_BOUNDS_MICROS: [u64; 17] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 5_000_000,
];

/// A histogram of durations. Cheap to write, from any thread.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last bucket counts durations above all bounds.
    buckets: [AtomicU64; BUCKET_BOUNDS_MICROS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Records `count` events of this duration.
    pub fn observe(&self, duration: Duration, count: u64) {
        if count == 0 {
            return;
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // The bound of a bucket is inclusive.
        let bucket = BUCKET_BOUNDS_MICROS.partition_point(|&micros| micros * 1000 < nanos);
        // A reader that counts these events before it reads the sum finds them in the sum.
        self.nanos.fetch_add(nanos.saturating_mul(count), Relaxed);
        self.buckets[bucket].fetch_add(count, Release);
    }

    /// Returns for each bound the number of events that took at most as long, and finally, without
    /// a bound, the number of all events.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BUCKET_BOUNDS_MICROS
            .iter()
            .map(|&micros| Duration::from_micros(micros));
        let bounds = bounds.map(Some).chain([None]);
        let mut sum = 0;
        bounds.zip(&self.buckets).map(move |(bound, bucket)| {
            sum += bucket.load(Acquire);
            (bound, sum)
        })
    }

    /// Returns the sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_counts_durations_up_to_and_including_its_bound() {
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
