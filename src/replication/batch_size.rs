//! The size of a link's batches: what the path carried, and what it did not.
//!
//! Congestion control of TCP, with an acknowledged batch in place of a round trip (slow start and
//! `ssthresh`, RFC 5681, section 3.1): the limit doubles, halves on a failure, and from half of the
//! size that failed last on it grows by small steps. A path may have a hard ceiling, such as one
//! that drops large packets without an answer (RFC 2923, section 2.1). So a size that failed again
//! is not reached before a pause, which doubles with each such failure up to ten minutes, as long
//! as RFC 8899 (section 5.1.1) waits before it tries larger packets.

use std::time::Duration;

use super::send_cursor::{MAX_BATCH_BYTES, Span};

/// The first limit, in bytes.
const INITIAL_BYTES: usize = 64 * 1024;

/// Number of steps in which the limit grows to the size that failed last, from zero.
const GROWTH_STEPS: usize = 8;

/// Minimum pause before a size that failed twice is tried again.
const MIN_PAUSE: Duration = Duration::from_secs(10);

/// Maximum pause before a size that failed twice is tried again, and the time for which a failed
/// size is remembered after its pause.
const MAX_PAUSE: Duration = Duration::from_secs(600);

/// The limit of a batch's size.
///
/// Invariant: `1 <= limit <= MAX_BATCH_BYTES`.
#[derive(Debug)]
pub(super) struct BatchSize {
    limit: usize,
    failed: Option<FailedSize>,
}

/// A size that failed, and that no acknowledged batch has reached since.
#[derive(Clone, Copy, Debug)]
struct FailedSize {
    bytes: usize,
    /// The time from which on it may be reached again.
    retry_at: Duration,
    pause: Duration,
}

impl BatchSize {
    pub(super) fn new() -> Self {
        Self {
            limit: INITIAL_BYTES,
            failed: None,
        }
    }

    /// Returns the maximum size of the next batch, in bytes. A single report may exceed it.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Records a batch that was acknowledged in good time. Only one that the limit cut is evidence
    /// for larger ones.
    pub(super) fn acknowledged(&mut self, span: Span, now: Duration) {
        self.failed.take_if(|failed| span.bytes >= failed.bytes);
        if span.is_cut {
            self.limit = self.grown(now).clamp(1, MAX_BATCH_BYTES);
        }
    }

    /// Records a batch that was not acknowledged. An empty batch was not too large, and a single
    /// report cannot be divided.
    pub(super) fn failed(&mut self, span: Span, now: Duration) {
        if span.reports == 0 {
            return;
        }
        let failed = self.limit.min(span.bytes);
        if span.reports == 1 {
            self.limit = failed.max(1);
            return;
        }
        self.limit = (failed / 2).max(1);
        let before = self.failed.filter(|it| now < it.retry_at + MAX_PAUSE);
        let pause = before.map_or(Duration::ZERO, |it| {
            (it.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE)
        });
        self.failed = Some(FailedSize {
            bytes: span.bytes,
            retry_at: now + pause,
            pause,
        });
    }

    fn grown(&self, now: Duration) -> usize {
        let doubled = self.limit * 2;
        let Some(failed) = self.failed else {
            return doubled;
        };
        if self.limit < failed.bytes / 2 {
            return doubled.min(failed.bytes / 2);
        }
        let step = (failed.bytes / GROWTH_STEPS).max(1);
        let grown = self.limit + step;
        if now < failed.retry_at && grown >= failed.bytes {
            return self.limit;
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn full(bytes: usize) -> Span {
        Span {
            from: 0,
            to: 1,
            reports: bytes.div_ceil(100),
            bytes,
            is_cut: true,
            is_whole: false,
        }
    }

    /// A path that carries at most `ceiling` bytes at once, every 10 ms. A failure takes 3 s.
    struct Path {
        ceiling: usize,
        now: Duration,
    }

    impl Path {
        /// Sends full batches for some time. Returns the number of failures and the last limit.
        fn send(&mut self, sizes: &mut BatchSize, time: Duration) -> (usize, usize) {
            let (end, mut failures) = (self.now + time, 0);
            while self.now < end {
                let batch = full(sizes.limit());
                if batch.bytes <= self.ceiling {
                    self.now += Duration::from_millis(10);
                    sizes.acknowledged(batch, self.now);
                } else {
                    self.now += 3 * SECOND;
                    sizes.failed(batch, self.now);
                    failures += 1;
                }
            }
            (failures, sizes.limit())
        }
    }

    fn path(ceiling: usize) -> Path {
        Path {
            ceiling,
            now: Duration::ZERO,
        }
    }

    #[test]
    fn the_limit_doubles_up_to_the_maximum_while_full_batches_are_acknowledged() {
        let mut sizes = BatchSize::new();
        let partial = Span {
            is_cut: false,
            ..full(INITIAL_BYTES)
        };
        sizes.acknowledged(partial, SECOND);
        assert_eq!(sizes.limit(), INITIAL_BYTES, "no evidence for more");
        sizes.acknowledged(full(INITIAL_BYTES), SECOND);
        assert_eq!(sizes.limit(), 2 * INITIAL_BYTES);
        let sent = path(MAX_BATCH_BYTES).send(&mut sizes, SECOND);
        assert_eq!(sent, (0, MAX_BATCH_BYTES));
    }

    #[test]
    fn under_a_hard_ceiling_batches_settle_close_to_it_and_rarely_fail_again() {
        for ceiling in [300, 1400, 9000, 64_000, 500_000] {
            let (mut sizes, mut path) = (BatchSize::new(), path(ceiling));
            let (failures, limit) = path.send(&mut sizes, 60 * SECOND);
            assert!(limit <= ceiling && limit >= ceiling / 2, "{limit}");
            assert!(failures <= 12, "{failures} in the first minute");
            let (later, _) = path.send(&mut sizes, 3600 * SECOND);
            // It does try again: the path may have changed.
            assert!((4..=12).contains(&later), "{later} in the next hour");
        }
    }

    #[test]
    fn after_a_ceiling_is_gone_batches_grow_to_the_maximum() {
        let (mut sizes, mut path) = (BatchSize::new(), path(1400));
        path.send(&mut sizes, 3600 * SECOND);
        path.ceiling = MAX_BATCH_BYTES;
        let sent = path.send(&mut sizes, MAX_PAUSE + SECOND);
        assert_eq!(sent, (0, MAX_BATCH_BYTES));
    }

    #[test]
    fn one_failure_delays_growth_by_a_few_batches() {
        let mut sizes = BatchSize::new();
        sizes.failed(full(10_000), SECOND);
        assert_eq!(sizes.limit(), 5000);
        for batches in 0.. {
            assert!(batches < 12, "{sizes:?}");
            if sizes.limit() == MAX_BATCH_BYTES {
                break;
            }
            sizes.acknowledged(full(sizes.limit()), SECOND);
        }
    }

    #[test]
    fn a_failed_report_or_heartbeat_says_nothing_about_larger_batches() {
        let mut sizes = BatchSize::new();
        let empty = Span {
            reports: 0,
            ..full(0)
        };
        sizes.failed(empty, SECOND);
        assert_eq!(sizes.limit(), INITIAL_BYTES);
        sizes.failed(full(100), SECOND);
        assert_eq!(sizes.limit(), 100, "one report at a time");
        sizes.acknowledged(full(100), SECOND);
        sizes.acknowledged(full(200), SECOND);
        assert_eq!(sizes.limit(), 400);
    }
}
