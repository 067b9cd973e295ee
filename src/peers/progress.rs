//! Whether a neighbour keeps up with the feed: a rule, with time as an argument.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

/// A neighbour that is behind by more than this does not keep up: it has a
/// backlog, which it works off while clients go on.
const BACKLOG: Duration = Duration::from_secs(1);

/// It keeps up again once it has been behind by no more than this.
const KEEPS_UP: Duration = Duration::from_millis(250);

/// How far one neighbour is behind, in time, since it was greeted.
#[derive(Debug, Default)]
pub(super) struct LagTracker {
    /// Where the feed ended at a time.
    mark: Option<(u64, Instant)>,
    /// All that the neighbour lacks is younger than this.
    behind_since: Option<Instant>,
    keeps_up: bool,
}

impl LagTracker {
    /// A push begins at `now`, where the feed ends with number `last`.
    pub(super) fn pushing(&mut self, last: u64, now: Instant) {
        self.mark.get_or_insert((last, now));
        self.behind_since.get_or_insert(now);
    }

    /// The neighbour has all up to and with `cursor`.
    pub(super) fn acknowledged(&mut self, cursor: u64, now: Instant) {
        if let Some((_, at)) = self.mark.take_if(|(last, _)| cursor >= *last) {
            self.behind_since = Some(at);
            self.keeps_up |= now - at <= KEEPS_UP;
        }
        self.keeps_up &= self.behind_since.is_none_or(|since| now - since <= BACKLOG);
    }

    /// The neighbour has all that there is.
    pub(super) fn finished(&mut self) {
        *self = Self {
            mark: None,
            behind_since: None,
            keeps_up: true,
        };
    }

    /// When the neighbour lags, if it does not get on: it kept up, and is behind
    /// by more than `most`.
    pub(super) fn lags(&self, most: Duration) -> Option<Range<Instant>> {
        let since = self.behind_since.filter(|_| self.keeps_up)?;
        Some(since + most..since + BACKLOG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(10);

    fn times() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |millis| start + Duration::from_millis(millis)
    }

    #[test]
    fn a_neighbour_that_answers_at_once_is_behind_since_the_last_push() {
        let (at, mut progress) = (times(), LagTracker::default());
        progress.pushing(5, at(0));
        assert_eq!(progress.lags(MOST), None, "may have a backlog");
        progress.acknowledged(5, at(3));
        assert_eq!(progress.lags(MOST), Some(at(10)..at(1000)));
        progress.pushing(9, at(3));
        progress.acknowledged(9, at(7));
        assert_eq!(progress.lags(MOST), Some(at(13)..at(1003)));
        progress.finished();
        assert_eq!(progress.lags(MOST), None);
        progress.pushing(10, at(5000));
        assert_eq!(progress.lags(MOST), Some(at(5010)..at(6000)));
    }

    #[test]
    fn what_was_there_when_a_push_began_makes_it_lag_until_all_of_it_is_there() {
        let (at, mut progress) = (times(), LagTracker::default());
        progress.finished();
        progress.pushing(100, at(0));
        progress.acknowledged(40, at(20));
        progress.pushing(150, at(20));
        assert_eq!(progress.lags(MOST), Some(at(10)..at(1000)));
        progress.acknowledged(80, at(40));
        progress.pushing(200, at(40));
        progress.acknowledged(120, at(60));
        progress.pushing(250, at(60));
        assert_eq!(
            progress.lags(MOST),
            Some(at(10)..at(1000)),
            "since the mark"
        );
        progress.acknowledged(250, at(80));
        progress.pushing(300, at(80));
        assert_eq!(progress.lags(MOST), Some(at(70)..at(1060)));
    }

    #[test]
    fn a_neighbour_with_a_backlog_does_not_lag_until_it_keeps_up() {
        let (at, mut progress) = (times(), LagTracker::default());
        progress.pushing(1000, at(0));
        progress.acknowledged(500, at(100));
        assert_eq!(progress.lags(MOST), None);
        progress.acknowledged(1000, at(600));
        assert_eq!(progress.lags(MOST), None, "600 ms behind");
        progress.pushing(1300, at(600));
        progress.acknowledged(1300, at(700));
        assert_eq!(progress.lags(MOST), Some(at(610)..at(1600)));
        progress.pushing(1400, at(700));
        progress.acknowledged(1350, at(1601));
        assert_eq!(progress.lags(MOST), None, "a backlog again");
        progress.acknowledged(1400, at(1700));
        assert_eq!(progress.lags(MOST), None);
    }
}
