//! When a link under load waits before it pushes a change, so that the neighbour gets it over a
//! quicker way first.
//!
//! A link is *slow* if the neighbour had more than a quarter of its reports already. It pushes a
//! change only when the change has some age, and skips it if the neighbour's
//! [vector](super::version_vector) covers it by then. Until then it gets the vector with empty
//! pushes. The lazy links of Plumtree (Leitão et al., "Epidemic Broadcast Trees", 2007) are alike,
//! but a receiver there asks for what is missing. Here whatever the neighbour lacks at that age is
//! pushed.
//!
//! A link is slow only under load: it is quick again when few changes come, when a change that it
//! pushed late was news, and when it becomes one of the [tree](super::spanning_tree).

use std::collections::VecDeque;
use std::time::Duration;

/// Time for which pushes are counted before they decide anything.
const WINDOW: Duration = Duration::from_millis(20);

/// A link becomes slow when more than one in this number of its reports is a duplicate.
const MAX_REDUNDANCY: u64 = 4;

/// Number of reports in a window, or of changes between two looks of a slow link, from which on a
/// link is under load.
const MIN_LOAD: u64 = 64;

/// The first age of changes that a slow link pushes. It doubles while most of those are duplicates.
const MIN_AGE: Duration = Duration::from_millis(20);

/// Maximum age of changes that a slow link pushes.
const MAX_AGE: Duration = Duration::from_millis(80);

/// Number of reports of a slow link from which on a push says whether its neighbour needs it.
const MIN_EVIDENCE: usize = 8;

/// Whether a link waits, and for which age. Times are those of the link.
#[derive(Debug)]
pub(super) struct HoldBack {
    /// Age of the changes that are pushed; `None` for a quick link.
    age: Option<Duration>,
    /// The ends of the feed at earlier looks, the oldest first.
    looks: VecDeque<(Duration, u64)>,
    /// The begin of the window, and the reports and duplicates in it.
    window: (Duration, u64, u64),
}

impl HoldBack {
    pub(super) fn new() -> Self {
        Self {
            age: None,
            looks: VecDeque::new(),
            window: (Duration::ZERO, 0, 0),
        }
    }

    /// Returns whether the link is slow.
    pub(super) fn is_slow(&self) -> bool {
        self.age.is_some()
    }

    /// Makes the link quick.
    pub(super) fn end(&mut self) {
        *self = Self::new();
    }

    /// Returns the time between two looks of a slow link.
    pub(super) fn interval(&self) -> Duration {
        self.age.unwrap_or_default() / 2
    }

    /// Returns the sequence number through which changes are old enough, when the feed ends with
    /// `last`; `None` on a link that is quick, or becomes so since too few changes came.
    pub(super) fn horizon(&mut self, now: Duration, last: u64) -> Option<u64> {
        let age = self.age?;
        if let Some(&(at, before)) = self.looks.back()
            && now >= at + self.interval()
            && last - before < MIN_LOAD
        {
            self.end();
            return None;
        }
        self.looks.push_back((now, last));
        let is_old = |&(at, _): &(Duration, u64)| at + age <= now;
        while self.looks.get(1).is_some_and(is_old) {
            self.looks.pop_front();
        }
        let oldest = self.looks.front().copied().filter(is_old);
        Some(oldest.map_or(0, |(_, last)| last))
    }

    /// Records an acknowledged push, and the number of its reports that were not news.
    pub(super) fn acknowledged(&mut self, now: Duration, reports: usize, redundant: usize) {
        let is_mostly_redundant = 2 * redundant > reports;
        if let Some(age) = self.age {
            if reports >= MIN_EVIDENCE && !is_mostly_redundant {
                self.end();
            } else if reports >= MIN_EVIDENCE {
                self.age = Some((age * 2).min(MAX_AGE));
            }
            return;
        }
        let (begin, all, known) = &mut self.window;
        (*all, *known) = (*all + reports as u64, *known + redundant as u64);
        if now < *begin + WINDOW {
            return;
        }
        let is_recent = now < *begin + 2 * WINDOW;
        if is_recent && *all >= MIN_LOAD && MAX_REDUNDANCY * *known > *all {
            self.age = Some(MIN_AGE);
        }
        self.window = (now, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that has become slow, and the time.
    fn slow() -> (HoldBack, Duration) {
        let mut it = HoldBack::new();
        it.acknowledged(WINDOW / 2, 100, 90);
        assert!(!it.is_slow());
        it.acknowledged(WINDOW, 100, 90);
        assert!(it.is_slow());
        (it, WINDOW)
    }

    #[test]
    fn a_link_with_news_or_without_load_is_quick() {
        for (reports, redundant) in [(100, 25), (20, 20)] {
            let mut it = HoldBack::new();
            for windows in 1..10 {
                it.acknowledged(windows * WINDOW, reports, redundant);
                assert!(!it.is_slow(), "{reports} {redundant}");
            }
        }
        let mut it = HoldBack::new();
        it.acknowledged(10 * WINDOW, 100, 90);
        assert!(!it.is_slow(), "the window was long");
    }

    #[test]
    fn a_slow_link_pushes_changes_of_some_age() {
        let (mut it, start) = slow();
        let looks: Vec<_> = (0..8)
            .map(|look| it.horizon(start + look * MIN_AGE / 2, 1000 * u64::from(look + 1)))
            .collect();
        let ends = [0, 0, 1000, 2000, 3000, 4000, 5000, 6000];
        assert_eq!(looks, ends.map(Some));
        assert!(it.looks.len() <= 3);
    }

    #[test]
    fn a_slow_link_is_quick_again_without_load_and_when_it_is_needed() {
        let (mut it, start) = slow();
        assert_eq!(it.horizon(start, 1000), Some(0));
        assert_eq!(it.horizon(start + MIN_AGE, 1000 + MIN_LOAD - 1), None);
        assert!(!it.is_slow());

        let (mut it, start) = slow();
        it.acknowledged(start, MIN_EVIDENCE, MIN_EVIDENCE);
        assert_eq!(it.interval(), MIN_AGE, "the quicker way takes longer");
        it.acknowledged(start, MIN_EVIDENCE, 0);
        assert!(!it.is_slow());
    }
}
