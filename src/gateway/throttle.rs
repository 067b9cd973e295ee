//! When clients of a server are to wait, so that what they report gets about.
//!
//! A server that has not time for all its work would else go on to take reports
//! as fast as ever, and tell of each of them later than of the one before. This
//! is not for the sake of a slow neighbour, for whom nobody waits: both must be
//! true, that a neighbour which kept up lags now, and that this server is short
//! of time itself.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// A server counts as short of time for so long after it was seen to be.
const SHORT_FOR: Duration = Duration::from_millis(100);

/// Is this server short of time?
#[derive(Debug)]
pub(super) struct Shortage {
    epoch: Instant,
    until: AtomicU64,
}

/// When one neighbour lags. Read for every read of a client, so not behind a
/// lock; that both ends of it are not changed at once does no harm.
#[derive(Debug, Default)]
pub(super) struct Lagging {
    from: AtomicU64,
    until: AtomicU64,
}

impl Default for Shortage {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            until: AtomicU64::new(0),
        }
    }
}

impl Shortage {
    pub(super) fn note(&self, now: Instant) {
        self.until.store(self.moment(now + SHORT_FOR), Relaxed);
    }

    /// Is there one now, and one of these neighbours lags?
    pub(super) fn lets_wait<'a>(
        &self,
        now: Instant,
        mut neighbours: impl Iterator<Item = &'a Lagging>,
    ) -> bool {
        let now = self.moment(now);
        now < self.until.load(Relaxed) && neighbours.any(|lagging| lagging.is_on(now))
    }

    pub(super) fn set(&self, lagging: &Lagging, time: Option<Range<Instant>>) {
        let time = time.map_or(0..0, |time| self.moment(time.start)..self.moment(time.end));
        lagging.from.store(time.start, Relaxed);
        lagging.until.store(time.end, Relaxed);
    }

    /// In nanoseconds since the server began.
    fn moment(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Lagging {
    fn is_on(&self, now: u64) -> bool {
        (self.from.load(Relaxed)..self.until.load(Relaxed)).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_wait_where_a_neighbour_lags_and_the_server_is_short_of_time() {
        let (shortage, neighbours) = (Shortage::default(), [(); 2].map(|()| Lagging::default()));
        let at = |millis| shortage.epoch + Duration::from_millis(millis);
        let waits = |millis| shortage.lets_wait(at(millis), neighbours.iter());
        assert!(!waits(10));
        shortage.set(&neighbours[1], Some(at(20)..at(1020)));
        assert!(!waits(30), "the server has time");
        shortage.note(at(10));
        assert_eq!([19, 20, 109, 110].map(waits), [false, true, true, false]);
        shortage.note(at(1000));
        assert_eq!([1019, 1020].map(waits), [true, false]);
        shortage.set(&neighbours[1], Some(at(1000)..at(2000)));
        assert!(waits(1020));
        shortage.set(&neighbours[1], None);
        assert!(!waits(1020), "no neighbour lags");
    }
}
