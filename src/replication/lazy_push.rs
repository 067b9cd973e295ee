//! When a link under load waits before it pushes a change, so that the neighbour gets it over a
//! quicker way first.
//!
//! A link becomes *lazy* when the neighbour had more than a quarter of its reports already. It then
//! pushes a change only when the change has some age, and skips it if the neighbour's
//! [vector](super::version_vector) covers it by then. The lazy links of Plumtree (Leitão et al.,
//! "Epidemic Broadcast Trees", 2007) are alike, but a receiver there asks for what is missing. Here
//! whatever the neighbour lacks at that age is pushed.
//!
//! A link is lazy only under load: it is eager again when few changes come, when what it pushed
//! late was news, and when it becomes one of the [tree](super::spanning_tree).

use std::time::Duration;

/// Minimum time for which the reports of a eager link are counted before they decide anything, and
/// half the maximum.
const WINDOW: Duration = Duration::from_millis(20);

/// A link becomes lazy when more than one in this number of its reports is redundant.
const MAX_REDUNDANCY: usize = 4;

/// The first minimum age of the changes that a lazy link pushes. It doubles while most of those are
/// redundant: the quicker way takes longer.
const MIN_AGE: Duration = Duration::from_millis(20);

/// Maximum of the minimum age.
const MAX_AGE: Duration = Duration::from_millis(80);

/// Number of reports of a lazy link from which on a push says whether the neighbour needs them.
const MIN_EVIDENCE: usize = 8;

/// Whether a link waits, and for which changes. Times are those of the link.
#[derive(Debug)]
pub(super) struct LazyPush {
    /// Number of reports in a window, and of changes while a lazy link waits, from which on the
    /// link is under load.
    min_load: usize,
    pace: Pace,
}

#[derive(Debug)]
enum Pace {
    /// It pushes changes at once.
    Eager {
        /// The begin of the window.
        since: Duration,
        /// The reports pushed in the window, and those of them that were redundant.
        reports: usize,
        redundant: usize,
    },
    /// It pushes changes of some age.
    Lazy {
        /// The minimum age.
        age: Duration,
        /// The sequence number through which changes have it.
        horizon: u64,
        /// The end of the feed at a time. It is the next horizon.
        end: (Duration, u64),
    },
}

impl LazyPush {
    pub(super) fn new(min_load: usize) -> Self {
        Self {
            min_load,
            pace: Pace::eager(Duration::ZERO),
        }
    }

    /// Returns the time between two pushes of a lazy link; `None` for a eager link.
    pub(super) fn interval(&self) -> Option<Duration> {
        match self.pace {
            Pace::Eager { .. } => None,
            Pace::Lazy { age, .. } => Some(age),
        }
    }

    /// Makes the link eager.
    pub(super) fn end(&mut self, now: Duration) {
        self.pace = Pace::eager(now);
    }

    /// Returns the sequence number through which changes are old enough, when the feed ends with
    /// `last`; `None` on a link that is eager, or becomes so since few changes came.
    pub(super) fn horizon(&mut self, now: Duration, last: u64) -> Option<u64> {
        let Pace::Lazy { age, horizon, end } = &mut self.pace else {
            return None;
        };
        let (since, before) = *end;
        if now >= since + *age {
            if last < before + self.min_load as u64 {
                self.end(now);
                return None;
            }
            (*horizon, *end) = (before, (now, last));
        }
        Some(*horizon)
    }

    /// Records an acknowledged push through `to`, and how many of its reports were redundant.
    pub(super) fn acknowledged(&mut self, now: Duration, to: u64, pushed: (usize, usize)) {
        match &mut self.pace {
            Pace::Eager {
                since,
                reports,
                redundant,
            } => {
                (*reports, *redundant) = (*reports + pushed.0, *redundant + pushed.1);
                if now < *since + WINDOW {
                    return;
                }
                let is_loaded = *reports >= self.min_load && now < *since + 2 * WINDOW;
                self.pace = if is_loaded && MAX_REDUNDANCY * *redundant > *reports {
                    Pace::Lazy {
                        age: MIN_AGE,
                        horizon: to,
                        end: (now, to),
                    }
                } else {
                    Pace::eager(now)
                };
            }
            Pace::Lazy { age, .. } if pushed.0 >= MIN_EVIDENCE => {
                if 2 * pushed.1 > pushed.0 {
                    *age = (*age * 2).min(MAX_AGE);
                } else {
                    self.end(now);
                }
            }
            Pace::Lazy { .. } => {}
        }
    }
}

impl Pace {
    fn eager(now: Duration) -> Self {
        Self::Eager {
            since: now,
            reports: 0,
            redundant: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN_LOAD: usize = 64;

    /// A link that has become lazy at `WINDOW`, with 1000 changes.
    fn lazy() -> LazyPush {
        let mut it = LazyPush::new(MIN_LOAD);
        it.acknowledged(WINDOW / 2, 900, (64, 20));
        assert_eq!(it.interval(), None, "the window is open");
        it.acknowledged(WINDOW, 1000, (64, 20));
        assert_eq!(it.interval(), Some(MIN_AGE));
        it
    }

    #[test]
    fn a_link_with_news_or_without_load_is_eager() {
        for (windows, reports, redundant) in [(1, 100, 25), (1, MIN_LOAD - 1, 60), (2, 100, 90)] {
            let mut it = LazyPush::new(MIN_LOAD);
            it.acknowledged(windows * WINDOW, 1000, (reports, redundant));
            assert_eq!(it.interval(), None, "{reports} {redundant}");
            assert_eq!(it.horizon(9 * WINDOW, 2000), None);
        }
    }

    #[test]
    fn a_lazy_link_pushes_changes_of_some_age() {
        let mut it = lazy();
        let horizons = [(2, 1100), (3, 1200), (4, 1300), (5, 1400), (6, 1500)]
            .map(|(half_ages, last)| it.horizon(MIN_AGE * half_ages / 2, last));
        assert_eq!(horizons, [1000, 1000, 1000, 1000, 1300].map(Some));
    }

    #[test]
    fn a_lazy_link_is_eager_again_without_load_and_when_it_is_needed() {
        let mut it = lazy();
        assert_eq!(it.horizon(2 * MIN_AGE, 999 + MIN_LOAD as u64), None);
        assert_eq!(it.interval(), None);

        let mut it = lazy();
        let redundant = |count| (MIN_EVIDENCE, count);
        it.acknowledged(2 * WINDOW, 2000, redundant(MIN_EVIDENCE));
        assert_eq!(
            it.interval(),
            Some(2 * MIN_AGE),
            "the quicker way takes longer"
        );
        it.acknowledged(3 * WINDOW, 3000, redundant(0));
        assert_eq!(it.interval(), None);
    }
}
