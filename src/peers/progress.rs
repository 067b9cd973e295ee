//! Whether a neighbour keeps up with the feed, with time as an argument.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

/// A neighbour whose lag exceeds this does not keep up. It has a backlog, and catches up
/// while clients go on.
const BACKLOG_LAG: Duration = Duration::from_secs(1);

/// A neighbour with a backlog keeps up again once its lag was no more than this.
const KEEPS_UP_LAG: Duration = Duration::from_millis(250);

/// The lag of one neighbour, in time, since it was greeted.
#[derive(Debug, Default)]
pub(super) struct LagTracker {
    /// The last sequence number of the feed at a time.
    mark: Option<(u64, Instant)>,
    /// All changes that the neighbour lacks are newer than this.
    lagging_since: Option<Instant>,
    keeps_up: bool,
}

impl LagTracker {
    /// Notes that a push begins at `now`, when the feed ends with number `last`.
    pub(super) fn push_started(&mut self, last: u64, now: Instant) {
        self.mark.get_or_insert((last, now));
        self.lagging_since.get_or_insert(now);
    }

    /// Notes that the neighbour has all changes through `cursor`.
    pub(super) fn acknowledged(&mut self, cursor: u64, now: Instant) {
        if let Some((_, at)) = self.mark.take_if(|(last, _)| cursor >= *last) {
            self.lagging_since = Some(at);
            self.keeps_up |= now - at <= KEEPS_UP_LAG;
        }
        self.keeps_up &= self
            .lagging_since
            .is_none_or(|since| now - since <= BACKLOG_LAG);
    }

    /// Notes that the neighbour has all changes.
    pub(super) fn caught_up(&mut self) {
        *self = Self {
            mark: None,
            lagging_since: None,
            keeps_up: true,
        };
    }

    /// Returns the time during which the neighbour lags if it makes no progress: it kept
    /// up before, and its lag exceeds `max_lag`. `None` if it has a backlog or all
    /// changes.
    pub(super) fn lags(&self, max_lag: Duration) -> Option<Range<Instant>> {
        let since = self.lagging_since.filter(|_| self.keeps_up)?;
        Some(since + max_lag..since + BACKLOG_LAG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_LAG: Duration = Duration::from_millis(10);

    fn times() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |millis| start + Duration::from_millis(millis)
    }

    #[test]
    fn the_lag_of_a_neighbour_that_answers_at_once_counts_from_the_last_push() {
        let (at, mut lag) = (times(), LagTracker::default());
        lag.push_started(5, at(0));
        assert_eq!(lag.lags(MAX_LAG), None, "may have a backlog");
        lag.acknowledged(5, at(3));
        assert_eq!(lag.lags(MAX_LAG), Some(at(10)..at(1000)));
        lag.push_started(9, at(3));
        lag.acknowledged(9, at(7));
        assert_eq!(lag.lags(MAX_LAG), Some(at(13)..at(1003)));
        lag.caught_up();
        assert_eq!(lag.lags(MAX_LAG), None);
        lag.push_started(10, at(5000));
        assert_eq!(lag.lags(MAX_LAG), Some(at(5010)..at(6000)));
    }

    #[test]
    fn a_neighbour_lags_until_it_has_all_changes_that_existed_when_the_push_began() {
        let (at, mut lag) = (times(), LagTracker::default());
        lag.caught_up();
        lag.push_started(100, at(0));
        lag.acknowledged(40, at(20));
        lag.push_started(150, at(20));
        assert_eq!(lag.lags(MAX_LAG), Some(at(10)..at(1000)));
        lag.acknowledged(80, at(40));
        lag.push_started(200, at(40));
        lag.acknowledged(120, at(60));
        lag.push_started(250, at(60));
        assert_eq!(lag.lags(MAX_LAG), Some(at(10)..at(1000)), "since the mark");
        lag.acknowledged(250, at(80));
        lag.push_started(300, at(80));
        assert_eq!(lag.lags(MAX_LAG), Some(at(70)..at(1060)));
    }

    #[test]
    fn a_neighbour_with_a_backlog_does_not_lag_until_it_keeps_up() {
        let (at, mut lag) = (times(), LagTracker::default());
        lag.push_started(1000, at(0));
        lag.acknowledged(500, at(100));
        assert_eq!(lag.lags(MAX_LAG), None);
        lag.acknowledged(1000, at(600));
        assert_eq!(lag.lags(MAX_LAG), None, "a lag of 600 ms");
        lag.push_started(1300, at(600));
        lag.acknowledged(1300, at(700));
        assert_eq!(lag.lags(MAX_LAG), Some(at(610)..at(1600)));
        lag.push_started(1400, at(700));
        lag.acknowledged(1350, at(1601));
        assert_eq!(lag.lags(MAX_LAG), None, "a backlog again");
        lag.acknowledged(1400, at(1700));
        assert_eq!(lag.lags(MAX_LAG), None);
    }
}
