//! An estimate of a neighbour's clock, from the calls to it.
//!
//! A response carries the neighbour's clock at a moment between the call and the response. Taking
//! the middle of the two is wrong by half the round trip at most. The method is NTP's clock filter
//! (RFC 5905, section 10): of the last few samples the one with the shortest round trip counts.
//!
//! A leap of either clock shows in the offset when the samples before it are gone. The reading of
//! the neighbour's clock continues by monotonic time, so a leap of this server's does not change
//! it.

use std::time::Duration;

use crate::model::timestamp::UnixNanos;

/// Number of samples that are kept, as in NTP.
const MAX_SAMPLES: usize = 8;

/// The last samples of a neighbour's clock.
#[derive(Clone, Debug, Default)]
pub struct NeighbourClock {
    samples: [Option<ClockSample>; MAX_SAMPLES],
    /// Index of the oldest sample, which the next one replaces.
    oldest: usize,
}

/// One reading of the neighbour's clock, in the middle of a round trip.
#[derive(Clone, Copy, Debug)]
struct ClockSample {
    at: Duration,
    clock: UnixNanos,
    offset: ClockOffset,
}

/// The difference of two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// The neighbour's clock minus this server's, in nanoseconds, at most 292 years.
    pub nanos: i64,
    /// Maximum error: half of the round trip.
    pub max_error: Duration,
}

impl NeighbourClock {
    /// Records a response of the neighbour. The call was sent at `sent` and answered at `received`,
    /// in monotonic time since any moment. This server's clock showed `own` when the response
    /// came; the neighbour's showed `clock` in between. A clock of 0 is absent and not recorded.
    pub fn record(&mut self, sent: Duration, received: Duration, clock: UnixNanos, own: UnixNanos) {
        if clock == UnixNanos(0) {
            return;
        }
        let round_trip = received.saturating_sub(sent);
        let half = round_trip / 2;
        let nanos = i128::from(clock.0) - i128::from(own.0) + half.as_nanos() as i128;
        self.samples[self.oldest] = Some(ClockSample {
            at: sent + half,
            clock,
            offset: ClockOffset {
                nanos: nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
                max_error: round_trip - half,
            },
        });
        self.oldest = (self.oldest + 1) % MAX_SAMPLES;
    }

    /// Returns the offset of the neighbour's clock from this server's; `None` without a sample.
    pub fn offset(&self) -> Option<ClockOffset> {
        self.best().map(|sample| sample.offset)
    }

    /// Returns the earlier of the neighbour's clock and this server's, which shows `own` at `now`;
    /// this server's without a sample.
    pub fn earlier(&self, now: Duration, own: UnixNanos) -> UnixNanos {
        let theirs = |sample: &ClockSample| {
            let since = now.saturating_sub(sample.at).as_nanos();
            let since = i64::try_from(since).unwrap_or(i64::MAX);
            UnixNanos(sample.clock.0.saturating_add(since))
        };
        self.best().map_or(own, |sample| theirs(sample).min(own))
    }

    fn best(&self) -> Option<&ClockSample> {
        let samples = self.samples.iter().flatten();
        samples.min_by_key(|sample| sample.offset.max_error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any clock but 0.
    const NOON: UnixNanos = UnixNanos(1_600_000_000_000_000_000);

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Returns a clock after `elapsed`.
    fn after(clock: UnixNanos, elapsed: Duration) -> UnixNanos {
        UnixNanos(clock.0 + elapsed.as_nanos() as i64)
    }

    proptest! {
        #[test]
        fn the_true_offset_is_within_the_error(
            lead in -10_000_000_000i64..10_000_000_000,
            calls in prop::collection::vec((0u64..3000, 0u64..500, 0u64..500), 1..20),
        ) {
            let (mut clock, mut elapsed) = (NeighbourClock::default(), Duration::ZERO);
            for (pause, there, back) in calls {
                let sent = elapsed + millis(pause);
                let received = sent + millis(there + back);
                let theirs = UnixNanos(after(NOON, sent + millis(there)).0 + lead);
                let own = after(NOON, received);
                clock.record(sent, received, theirs, own);
                elapsed = received;
                let offset = clock.offset().unwrap();
                let error = (offset.nanos - lead).unsigned_abs();
                prop_assert!(Duration::from_nanos(error) <= offset.max_error);
            }
        }
    }

    #[test]
    fn the_shortest_round_trip_of_the_last_eight_counts() {
        let mut clock = NeighbourClock::default();
        let mut record = |at, round_trip| {
            let (sent, received) = (millis(at), millis(at + round_trip));
            let now = after(NOON, received);
            clock.record(sent, received, now, now);
            clock.offset().unwrap().max_error
        };
        assert_eq!(record(1000, 100), millis(50));
        assert_eq!(record(2000, 10), millis(5));
        for n in 3..10 {
            assert_eq!(record(n * 1000, 100), millis(5), "{n}");
        }
        assert_eq!(record(10_000, 100), millis(50), "the best is gone");
    }

    #[test]
    fn a_leap_of_one_clock_shows_in_the_offset_and_not_in_the_earlier_clock() {
        let start = Duration::ZERO;
        let mut clock = NeighbourClock::default();
        assert_eq!(clock.earlier(start, NOON), NOON);
        clock.record(start, start, UnixNanos(0), NOON);
        assert_eq!(clock.offset(), None, "absent");
        clock.record(start, start, NOON, NOON);
        assert_eq!(clock.offset().unwrap().nanos, 0);
        let (now, right) = (start + millis(400), after(NOON, millis(400)));
        let ahead = after(right, millis(5000));
        assert_eq!(
            clock.earlier(now, ahead),
            right,
            "this server's clock leaps"
        );
        (0..MAX_SAMPLES).for_each(|_| clock.record(now, now, right, ahead));
        assert_eq!(clock.offset().unwrap().nanos, -5_000_000_000);
        (0..MAX_SAMPLES).for_each(|_| clock.record(now, now, ahead, right));
        assert_eq!(clock.offset().unwrap().nanos, 5_000_000_000);
        assert_eq!(
            clock.earlier(now, right),
            right,
            "the neighbour's clock leaps"
        );
    }

    #[test]
    fn extreme_clocks_do_not_overflow() {
        let start = Duration::ZERO;
        for theirs in [i64::MIN, i64::MAX].map(UnixNanos) {
            for own in [i64::MIN, -1, i64::MAX].map(UnixNanos) {
                let mut clock = NeighbourClock::default();
                clock.record(start, start + millis(1), theirs, own);
                assert!(clock.offset().is_some());
                assert!(clock.earlier(start + millis(5), own) <= own);
            }
        }
    }
}
