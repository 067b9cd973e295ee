//! Reports of an outage once, not once for each line that it affects.

use std::time::{Duration, Instant};

/// Time without a failure after which an outage is over. Shorter: an intermittent disk floods the
/// terminal; longer: the end of the outage is reported late.
const QUIET: Duration = Duration::from_secs(10);

/// A run of failures with no more than [`QUIET`] between them, and the number of lines lost by it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    last_trouble: Option<Instant>,
    dropped: u64,
}

impl Outage {
    /// Records a failure at `now` that lost `dropped` lines. Returns true for the first failure of
    /// an outage, which is to be reported.
    pub(super) fn trouble(&mut self, now: Instant, dropped: u64) -> bool {
        self.dropped += dropped;
        self.last_trouble.replace(now).is_none()
    }

    /// Returns the time from `now` until the outage is over if no failure follows. `None` if there
    /// is no outage.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let quiet_since = self.last_trouble?;
        Some(QUIET.saturating_sub(now.saturating_duration_since(quiet_since)))
    }

    /// Records a success at `now`. Returns the number of lines lost if it ends an outage.
    pub(super) fn fine(&mut self, now: Instant) -> Option<u64> {
        let quiet_since = self.last_trouble?;
        if now.saturating_duration_since(quiet_since) < QUIET {
            return None;
        }
        let ended = std::mem::take(self);
        Some(ended.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_told_once_and_ends_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut episode = Outage::default();
        assert_eq!(episode.fine(at(0)), None);
        assert_eq!(episode.rest(at(0)), None);
        assert!(episode.trouble(at(1), 0));
        assert!(!episode.trouble(at(2), 5));
        assert_eq!(episode.fine(at(3)), None);
        assert!(!episode.trouble(at(8), 7));
        assert_eq!(episode.fine(at(17)), None);
        assert_eq!(episode.rest(at(17)), Some(Duration::from_secs(1)));
        assert_eq!(episode.rest(at(19)), Some(Duration::ZERO));
        assert_eq!(episode.fine(at(18)), Some(12));
        assert_eq!(episode.fine(at(19)), None);
        assert!(episode.trouble(at(20), 0));
        assert_eq!(episode.fine(at(30)), Some(0));
    }
}
