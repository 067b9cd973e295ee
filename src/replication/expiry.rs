//! Positions that nobody asks for any more: when a report is hidden from
//! answers, and when it is forgotten.
//!
//! A report is *hidden* once its client's time is longer ago than a setting
//! says, and *forgotten* a day deferred: taken out of the store, or dropped when
//! it arrives. Both follow from the report and a clock alone, so servers need
//! no messages to agree, and what one has forgotten can not come back to it
//! from a neighbour.
//!
//! The day between the two is for wrong clocks. What a server is_purged is hidden
//! on every server whose clock is less than a day behind its own, so servers
//! that disagree about the time by less never disagree for good: what one of
//! them lacks, no other shows.

use std::time::Duration;

use crate::model::timestamp::{Timestamp, UnixNanos};

/// How long a hidden report is kept.
const PURGE_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// After how long reports are hidden and forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    after: Duration,
    purge_delay: Duration,
}

impl Expiry {
    /// Reports are hidden `after` so long, and forgotten a day deferred.
    pub fn new(after: Duration) -> Self {
        Self::with_purge_delay(after, PURGE_DELAY)
    }

    /// As [`new`](Self::new) with another time between the two: in a
    /// simulation a day is long.
    pub fn with_purge_delay(after: Duration, purge_delay: Duration) -> Self {
        Self { after, purge_delay }
    }

    /// After how long reports are hidden.
    pub fn after(self) -> Duration {
        self.after
    }

    /// Is a report with this time no longer shown to anyone at `now`?
    pub fn is_expired(self, time: Timestamp<'_>, now: UnixNanos) -> bool {
        is_longer_ago(time, now, self.after)
    }

    /// Is a report with this time no longer kept at `now`?
    pub fn is_purged(self, time: Timestamp<'_>, now: UnixNanos) -> bool {
        is_longer_ago(time, now, self.after + self.purge_delay)
    }
}

fn is_longer_ago(time: Timestamp<'_>, now: UnixNanos, than: Duration) -> bool {
    let than = i128::try_from(than.as_nanos()).unwrap_or(i128::MAX);
    time.instant().as_nanos().saturating_add(than) < i128::from(now.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::timestamp::NANOS_PER_SECOND;

    fn time(text: &str) -> Timestamp<'_> {
        Timestamp::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_report_is_hidden_first_and_forgotten_a_day_later() {
        let expiry = Expiry::new(Duration::from_secs(10));
        let at = |seconds: i64, nanos: i64| UnixNanos(seconds * NANOS_PER_SECOND + nanos);
        let both = |now| {
            let time = time("100.5");
            (expiry.is_expired(time, now), expiry.is_purged(time, now))
        };
        assert_eq!(both(at(0, 0)), (false, false), "the future is not old");
        assert_eq!(both(at(110, 500_000_000)), (false, false));
        assert_eq!(both(at(110, 500_000_001)), (true, false));
        assert_eq!(both(at(86_510, 500_000_000)), (true, false));
        assert_eq!(both(at(86_510, 500_000_001)), (true, true));
    }

    #[test]
    fn the_ends_of_both_clocks_are_no_trouble() {
        let expiry = Expiry::with_purge_delay(Duration::MAX / 2, Duration::MAX / 2);
        for now in [i64::MIN, 0, i64::MAX].map(UnixNanos) {
            for text in ["0", "9223372036854775807.999999999"] {
                assert!(!expiry.is_purged(time(text), now));
            }
        }
        assert!(Expiry::new(Duration::ZERO).is_purged(time("0"), UnixNanos(i64::MAX)));
    }
}
