//! Expiry: when a report is excluded from answers, and when it is removed.
//!
//! A report is *expired* when its order time is longer ago than `expire_after`, and *purged* a
//! day after that: it is removed from the store, or dropped on arrival. Both follow from the report
//! and a clock alone, so servers agree without messages, and a neighbour cannot bring a purged
//! report back.
//!
//! The day between the two allows for wrong clocks. A report that one server purges is expired on
//! every server whose clock is less than a day behind. So servers whose clocks differ by less than
//! that never disagree permanently: no server returns a report that another one lacks.

use std::time::Duration;

use crate::model::timestamp::{OrderTime, UnixNanos};

/// Time between expiry and purge.
const PURGE_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The ages at which reports are expired and purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    after: Duration,
    purge_delay: Duration,
}

impl Expiry {
    /// Creates a rule by which reports are expired when they are older than `after`, and purged a
    /// day later.
    pub fn new(after: Duration) -> Self {
        Self::with_purge_delay(after, PURGE_DELAY)
    }

    /// Creates a rule as [`new`](Self::new) does, with another time between expiry and purge. A day
    /// would be too long for a simulation.
    pub fn with_purge_delay(after: Duration, purge_delay: Duration) -> Self {
        Self { after, purge_delay }
    }

    /// Returns the age at which reports are expired.
    pub fn after(self) -> Duration {
        self.after
    }

    /// Returns whether a report with this order time is excluded from answers at `now`.
    pub fn is_expired(self, time: OrderTime, now: UnixNanos) -> bool {
        is_longer_ago(time, now, self.after)
    }

    /// Returns whether a report with this order time is removed from the store at `now`.
    pub fn is_purged(self, time: OrderTime, now: UnixNanos) -> bool {
        is_longer_ago(time, now, self.after + self.purge_delay)
    }
}

fn is_longer_ago(time: OrderTime, now: UnixNanos, than: Duration) -> bool {
    let than = i128::try_from(than.as_nanos()).unwrap_or(i128::MAX);
    time.as_nanos().saturating_add(than) < i128::from(now.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::timestamp::{NANOS_PER_SECOND, Skew, Timestamp};

    fn time(text: &str) -> OrderTime {
        OrderTime::of(
            Timestamp::parse(text.as_bytes()).unwrap().instant(),
            Skew(0),
        )
    }

    #[test]
    fn a_report_expires_first_and_is_purged_a_day_later() {
        let expiry = Expiry::new(Duration::from_secs(10));
        let at = |seconds: i64, nanos: i64| UnixNanos(seconds * NANOS_PER_SECOND + nanos);
        let both = |now| {
            let time = time("100.5");
            (expiry.is_expired(time, now), expiry.is_purged(time, now))
        };
        assert_eq!(
            both(at(0, 0)),
            (false, false),
            "a future time is not expired"
        );
        assert_eq!(both(at(110, 500_000_000)), (false, false));
        assert_eq!(both(at(110, 500_000_001)), (true, false));
        assert_eq!(both(at(86_510, 500_000_000)), (true, false));
        assert_eq!(both(at(86_510, 500_000_001)), (true, true));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let expiry = Expiry::with_purge_delay(Duration::MAX / 2, Duration::MAX / 2);
        for now in [i64::MIN, 0, i64::MAX].map(UnixNanos) {
            for text in ["0", "9223372036854775807.999999999"] {
                assert!(!expiry.is_purged(time(text), now));
            }
        }
        assert!(Expiry::new(Duration::ZERO).is_purged(time("0"), UnixNanos(i64::MAX)));
    }
}
