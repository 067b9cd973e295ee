//! The comparison of a neighbour's clock with this server's, over one link.

use std::time::Duration;

use humantime::format_duration;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::model::name::Name;
use crate::model::timestamp::UnixNanos;
use crate::replication::neighbour_clock::{ClockOffset, NeighbourClock};

/// Difference of two clocks from which on one counts as wrong.
const MAX_OFFSET: Duration = Duration::from_secs(1);

/// Minimum time between two log lines about one neighbour's clock.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What one link knows of its neighbour's clock. Logs when the two clocks begin to differ by more
/// than a second, and when they agree again.
#[derive(Debug)]
pub(super) struct ClockCheck {
    neighbour: Name,
    clock: NeighbourClock,
    /// The moment from which the samples count their time.
    start: Instant,
    /// True if the log says that the clocks differ.
    is_logged_off: bool,
    logged_at: Option<Instant>,
}

impl ClockCheck {
    pub(super) fn new(neighbour: Name) -> Self {
        Self {
            neighbour,
            clock: NeighbourClock::default(),
            start: Instant::now(),
            is_logged_off: false,
            logged_at: None,
        }
    }

    /// Forgets all responses, since the next ones are of another connection or incarnation.
    pub(super) fn restart(&mut self) {
        self.clock = NeighbourClock::default();
    }

    /// Records a response, which came now, to a call that was sent at `sent`. `clock` is the
    /// neighbour's clock in it, `own` this server's now. Returns the offset of the neighbour's.
    pub(super) fn record(
        &mut self,
        sent: Instant,
        clock: UnixNanos,
        own: UnixNanos,
    ) -> Option<ClockOffset> {
        let now = Instant::now();
        let (sent, received) = (sent - self.start, now - self.start);
        self.clock.record(sent, received, clock, own);
        let offset = self.clock.offset()?;
        self.log(offset, now);
        Some(offset)
    }

    /// Returns the earlier of the neighbour's clock and this server's, which shows `own` now.
    pub(super) fn earlier(&self, own: UnixNanos) -> UnixNanos {
        self.clock.earlier(self.start.elapsed(), own)
    }

    fn log(&mut self, offset: ClockOffset, now: Instant) {
        let begun = self.begun(offset, now);
        let name = &self.neighbour;
        match begun {
            None => {}
            Some(false) => info!("the clock of {name} agrees with this server's again"),
            Some(true) => {
                let direction = if offset.nanos > 0 {
                    "ahead of"
                } else {
                    "behind"
                };
                let size = Duration::from_secs(size(offset).as_secs());
                warn!(
                    "the clock of {name} is {} {direction} this server's: `proxyherd status` \
                     shows which of the two is wrong; synchronize it",
                    format_duration(size)
                );
            }
        }
    }

    /// Returns `true` if it is to be logged now that the clocks differ, `false` if it is that they
    /// agree again. A change that does not last until the next log line is due is not logged.
    fn begun(&mut self, offset: ClockOffset, now: Instant) -> Option<bool> {
        let is_off = size(offset) > MAX_OFFSET + offset.max_error;
        let is_due = self.logged_at.is_none_or(|at| now >= at + LOG_INTERVAL);
        (is_off != self.is_logged_off && is_due).then(|| {
            (self.is_logged_off, self.logged_at) = (is_off, Some(now));
            is_off
        })
    }
}

fn size(offset: ClockOffset) -> Duration {
    Duration::from_nanos(offset.nanos.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_more_than_a_second_and_its_end_are_logged_at_most_every_ten_seconds() {
        let mut check = ClockCheck::new(Name::parse("Jaquez").unwrap());
        let start = Instant::now();
        let mut begun = |seconds, offset_millis: i64| {
            let offset = ClockOffset {
                nanos: offset_millis * 1_000_000,
                max_error: Duration::from_millis(100),
            };
            check.begun(offset, start + Duration::from_secs(seconds))
        };
        assert_eq!(begun(0, 1100), None, "perhaps a second");
        assert_eq!(begun(1, -1101), Some(true));
        assert_eq!(begun(2, 0), None);
        assert_eq!(begun(3, 5000), None);
        assert_eq!(begun(11, 5000), None, "it still differs");
        assert_eq!(begun(12, 1100), Some(false));
        assert_eq!(begun(13, 2000), None);
        assert_eq!(begun(22, 2000), Some(true), "for long enough");
    }
}
