//! Expiry: when a report is excluded from answers, and when it is removed.
//!
//! A report is *expired* when its order time is longer ago than `expire_after`, by the server's
//! clock at the time of the answer. It is *purged*, that is, removed from the store, a day after it
//! has expired. The two follow different clocks, because a server's clock may be wrong:
//!
//! - Expiry follows the clock. If the clock leaps ahead and back, reports are hidden and shown
//!   again, and nothing is lost. A report is stored whatever its age, so a server keeps everything
//!   that it acknowledges.
//! - Purging follows a clock that cannot leap. A walk visits every record again and again. A record
//!   is purged only after all visits during a day of monotonic time found its report expired, so a
//!   clock that is wrong for less than a day purges nothing that it would not purge otherwise.
//!
//! The day between the two also allows for clocks that differ: a report that one server purges is
//! expired on every server whose clock is less than a day behind. A sender leaves a report that has
//! been expired for a day out of its batches, so that a neighbour that purged it does not get it
//! again.

use std::num::NonZeroU8;
use std::time::Duration;

use crate::model::timestamp::{OrderTime, UnixNanos};

/// Time between expiry and purge.
pub const DEFAULT_PURGE_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Number of epochs in the time between expiry and purge. A record's mark is an epoch.
const EPOCHS_PER_DELAY: u32 = 24;

/// Number of different marks: more than ten purge delays pass before one seems new again.
const EPOCH_NUMBERS: u128 = NonZeroU8::MAX.get() as u128;

/// The ages at which reports are expired and purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    after: Duration,
    purge_delay: Duration,
}

/// The epoch at which a walk first found a record's report expired, if all visits since then did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ExpiredSince(Option<NonZeroU8>);

impl Expiry {
    /// Creates a rule by which reports are expired when they are older than `after`, and purged
    /// when they have been expired for `purge_delay`.
    pub fn new(after: Duration, purge_delay: Duration) -> Self {
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

    /// Returns whether a report with this order time is left out of batches at `now`: it has been
    /// expired for the purge delay.
    pub fn is_withheld(self, time: OrderTime, now: UnixNanos) -> bool {
        is_longer_ago(time, now, self.after.saturating_add(self.purge_delay))
    }

    /// Returns whether a report with this order time is to be purged, and updates the mark of its
    /// record. `now` is the server's clock, `uptime` a monotonic time since any moment. The report
    /// is purged when it was expired at all visits for longer than the purge delay, and a twelfth
    /// of the delay later at the latest.
    pub(super) fn is_due(
        self,
        since: &mut ExpiredSince,
        time: OrderTime,
        now: UnixNanos,
        uptime: Duration,
    ) -> bool {
        if !self.is_expired(time, now) {
            *since = ExpiredSince::default();
            return false;
        }
        let epoch = self.epoch(uptime);
        match since.0 {
            None => {
                since.0 = Some(epoch);
                false
            }
            Some(first) => {
                let passed = u128::from(epoch.get()) + EPOCH_NUMBERS - u128::from(first.get());
                passed % EPOCH_NUMBERS > u128::from(EPOCHS_PER_DELAY)
            }
        }
    }

    /// Returns the number of the current epoch. Numbers are used again.
    fn epoch(self, uptime: Duration) -> NonZeroU8 {
        let length = (self.purge_delay / EPOCHS_PER_DELAY).as_nanos().max(1);
        let number = uptime.as_nanos() / length % EPOCH_NUMBERS;
        // Below 255, so neither conversion fails.
        NonZeroU8::MIN.saturating_add(u8::try_from(number).unwrap_or(u8::MAX))
    }

    /// Returns whether a report that is not expired at `as_of` may be purged at `now`, by a server
    /// whose clock is right.
    pub fn may_purge_unexpired(self, as_of: UnixNanos, now: UnixNanos) -> bool {
        let delay = i128::try_from(self.purge_delay.as_nanos()).unwrap_or(i128::MAX);
        i128::from(as_of.0).saturating_add(delay) < i128::from(now.0)
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

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn time(text: &str) -> OrderTime {
        OrderTime::of(
            Timestamp::parse(text.as_bytes()).unwrap().instant(),
            Skew(0),
        )
    }

    #[test]
    fn a_report_expires_first_and_is_withheld_a_day_later() {
        let expiry = Expiry::new(Duration::from_secs(10), DEFAULT_PURGE_DELAY);
        let at = |seconds: i64, nanos: i64| UnixNanos(seconds * NANOS_PER_SECOND + nanos);
        let both = |now| {
            let time = time("100.5");
            (expiry.is_expired(time, now), expiry.is_withheld(time, now))
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
    fn a_report_may_be_purged_a_day_after_a_time_at_which_it_was_not_expired() {
        let expiry = Expiry::new(HOUR, DEFAULT_PURGE_DELAY);
        let day = UnixNanos(86_400 * NANOS_PER_SECOND);
        assert!(!expiry.may_purge_unexpired(UnixNanos(0), day));
        assert!(expiry.may_purge_unexpired(UnixNanos(0), UnixNanos(day.0 + 1)));
        assert!(!expiry.may_purge_unexpired(day, UnixNanos(0)));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let expiry = Expiry::new(Duration::MAX, Duration::MAX);
        for now in [i64::MIN, 0, i64::MAX].map(UnixNanos) {
            for text in ["0", "9223372036854775807.999999999"] {
                assert!(!expiry.is_withheld(time(text), now));
                assert!(!expiry.may_purge_unexpired(UnixNanos(i64::MIN), now));
            }
        }
        let at_once = Expiry::new(Duration::ZERO, Duration::ZERO);
        let (now, mut since) = (UnixNanos(i64::MAX), ExpiredSince::default());
        assert!(at_once.is_withheld(time("0"), now));
        assert!(!at_once.is_due(&mut since, time("0"), now, Duration::ZERO));
        assert!(at_once.is_due(&mut since, time("0"), now, Duration::from_nanos(25)));
    }

    /// Visits a report of 1970 each minute of `uptime`, from the hour `from` up to the hour `to`.
    /// The server's clock shows 1970 in the hours for which `is_wrong` returns `true`. Returns the
    /// minute of the purge, from the start.
    fn purged_at(from: u32, to: u32, is_wrong: impl Fn(u32) -> bool) -> Option<u32> {
        let expiry = Expiry::new(HOUR, DEFAULT_PURGE_DELAY);
        let mut since = ExpiredSince::default();
        (from * 60..to * 60).find(|&minute| {
            let hours = if is_wrong(minute / 60) { 0 } else { 2 };
            let now = UnixNanos((HOUR * hours).as_nanos() as i64);
            expiry.is_due(&mut since, time("0"), now, HOUR * minute / 60)
        })
    }

    #[test]
    fn a_report_is_purged_when_it_was_seen_expired_throughout_a_day() {
        // At all positions within the epochs, and where their numbers begin again.
        for start in (0..600).step_by(7) {
            let purged = purged_at(start, start + 48, |_| false).unwrap();
            let hours = f64::from(purged) / 60.0 - f64::from(start);
            assert!((24.0..=26.0).contains(&hours), "after {hours} hours");
        }
    }

    #[test]
    fn a_clock_that_is_right_once_a_day_purges_no_report_that_is_not_expired() {
        for start in (0..600).step_by(7) {
            let is_not_expired = |hour| (hour - start) % 24 == 23;
            assert_eq!(purged_at(start, start + 600, is_not_expired), None);
        }
    }
}
