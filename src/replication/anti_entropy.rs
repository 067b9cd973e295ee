//! Anti-entropy on a link: when two servers compare what they hold, and what they push again.
//!
//! Cursors and acknowledgements promise that neighbours agree once a link is caught up. What breaks
//! the promise without breaking the link (a restored image of a virtual machine, a fault in memory,
//! a mistake in a program) is found by comparison, as in Demers et al., "Epidemic Algorithms for
//! Replicated Database Maintenance" (1987), section 1.4. Each server compares digests of ranges of
//! clients with its neighbour's, and pushes what differs again. Both directions of a link do so,
//! and merging is idempotent, so both servers converge.
//!
//! A range differs only if it was quiet: if no report of it changed during both digests, and two
//! comparisons in a row found the same two unequal digests. Reports under way between the servers
//! are not mistaken for a difference.

use std::collections::VecDeque;
use std::time::Duration;

/// Delay of the second comparison, after one that found differences.
const RECHECK_DELAY: Duration = Duration::from_secs(1);

/// Maximum number of reports that are collected at a time, one range at least.
const MAX_COLLECTED_REPORTS: u64 = 50_000;

/// What one server holds of a range of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeDigest {
    /// Number of reports.
    pub clients: u64,
    /// Sum of the hashes of the reports.
    pub hashes: u128,
}

/// The digests of one range, of this server and of its neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparedRange {
    /// The digest of this server.
    pub ours: RangeDigest,
    /// The digest of the neighbour.
    pub theirs: RangeDigest,
    /// Whether no report of the range changed at either server while the digests were computed.
    pub is_settled: bool,
}

/// A batch that was collected to be pushed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectedSize {
    /// Number of reports.
    pub reports: usize,
    /// Size of the reports, in bytes.
    pub bytes: usize,
}

/// The comparisons of one link.
///
/// Invariant: at most one of a comparison, a collection and a list of batches is under way.
#[derive(Debug)]
pub(super) struct AntiEntropy {
    /// Maximum interval of comparisons; `None` for none.
    interval: Option<Duration>,
    /// Whether the two servers should hold the same: they expire reports alike.
    is_comparable: bool,
    /// The last number that was drawn, for the next delay.
    random: u64,
    state: AntiEntropyState,
}

#[derive(Debug)]
enum AntiEntropyState {
    /// The next comparison is due then. `suspects` are the ranges that differed in the last one.
    Waiting {
        at: Duration,
        suspects: Vec<(usize, ComparedRange)>,
    },
    /// A comparison is under way.
    Comparing {
        suspects: Vec<(usize, ComparedRange)>,
    },
    /// These ranges are to be pushed again, each with its number of reports.
    Uncollected { ranges: VecDeque<(usize, u64)> },
    /// The reports of some ranges are being collected.
    Collecting { rest: VecDeque<(usize, u64)> },
    /// These batches are to be pushed again, and then the ranges of the rest.
    Pushing {
        batches: VecDeque<CollectedSize>,
        rest: VecDeque<(usize, u64)>,
    },
}

/// What to do next while the link is caught up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AntiEntropyStep {
    /// Nothing until then, or until an outcome is recorded.
    Wait(Option<Duration>),
    Compare,
    Collect(Vec<usize>),
    Push(CollectedSize),
}

impl AntiEntropy {
    /// Compares with a neighbour after at most `interval`, and at least half of it, again and
    /// again. `random` is any number, drawn for this call.
    pub(super) fn new(interval: Option<Duration>, random: u64) -> Self {
        let at = jittered(interval.unwrap_or_default(), random);
        Self {
            interval,
            is_comparable: true,
            random,
            state: AntiEntropyState::Waiting {
                at,
                suspects: Vec::new(),
            },
        }
    }

    /// Sets whether the two servers should hold the same.
    pub(super) fn set_comparable(&mut self, is_comparable: bool) {
        self.is_comparable = is_comparable;
    }

    /// Returns the next step, on a link that is caught up.
    pub(super) fn next(&mut self, now: Duration) -> AntiEntropyStep {
        if self.interval.is_none() || !self.is_comparable {
            return AntiEntropyStep::Wait(None);
        }
        match &mut self.state {
            AntiEntropyState::Waiting { at, .. } if now < *at => AntiEntropyStep::Wait(Some(*at)),
            AntiEntropyState::Waiting { suspects, .. } => {
                let suspects = std::mem::take(suspects);
                self.state = AntiEntropyState::Comparing { suspects };
                AntiEntropyStep::Compare
            }
            AntiEntropyState::Comparing { .. } | AntiEntropyState::Collecting { .. } => {
                AntiEntropyStep::Wait(None)
            }
            AntiEntropyState::Uncollected { ranges } => {
                let mut rest = std::mem::take(ranges);
                let collected = take_some(&mut rest);
                self.state = AntiEntropyState::Collecting { rest };
                AntiEntropyStep::Collect(collected)
            }
            AntiEntropyState::Pushing { batches, .. } => {
                let batch = batches.front().expect("an empty list is replaced");
                AntiEntropyStep::Push(*batch)
            }
        }
    }

    /// Records a comparison of all ranges, in order; `None` if it failed. Returns the number of
    /// ranges that are pushed again. `random` is any number, drawn for this call.
    pub(super) fn compared(
        &mut self,
        now: Duration,
        ranges: Option<&[ComparedRange]>,
        random: u64,
    ) -> usize {
        let AntiEntropyState::Comparing { suspects } = &mut self.state else {
            return 0;
        };
        self.random = random;
        let suspects = std::mem::take(suspects);
        let differing: Vec<(usize, ComparedRange)> = ranges
            .unwrap_or_default()
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, range)| range.is_settled && range.ours != range.theirs)
            .collect();
        let confirmed = differing.iter().filter(|range| suspects.contains(range));
        let confirmed: VecDeque<_> = confirmed.map(|(at, it)| (*at, it.ours.clients)).collect();
        let differ = confirmed.len();
        if differ > 0 {
            self.push_next(now, VecDeque::new(), confirmed);
        } else if suspects.is_empty() && !differing.is_empty() {
            let delay = RECHECK_DELAY.min(self.interval.unwrap_or_default());
            let delay = jittered(delay, random);
            self.state = AntiEntropyState::Waiting {
                at: now + delay,
                suspects: differing,
            };
        } else {
            self.wait(now);
        }
        differ
    }

    /// Records that the reports of some ranges were collected into these batches.
    pub(super) fn collected(&mut self, now: Duration, batches: VecDeque<CollectedSize>) {
        if let AntiEntropyState::Collecting { rest } = &mut self.state {
            let rest = std::mem::take(rest);
            self.push_next(now, batches, rest);
        }
    }

    /// Records that the batch of the last step was acknowledged.
    pub(super) fn pushed(&mut self, now: Duration) {
        if let AntiEntropyState::Pushing { batches, rest } = &mut self.state {
            batches.pop_front();
            let (batches, rest) = (std::mem::take(batches), std::mem::take(rest));
            self.push_next(now, batches, rest);
        }
    }

    /// Gives up what is under way: the link must greet again. A comparison finds what is left.
    pub(super) fn abandon(&mut self, now: Duration) {
        if !matches!(self.state, AntiEntropyState::Waiting { .. }) {
            self.wait(now);
        }
    }

    fn push_next(
        &mut self,
        now: Duration,
        batches: VecDeque<CollectedSize>,
        rest: VecDeque<(usize, u64)>,
    ) {
        if !batches.is_empty() {
            self.state = AntiEntropyState::Pushing { batches, rest };
        } else if rest.iter().any(|(_, reports)| *reports > 0) {
            self.state = AntiEntropyState::Uncollected { ranges: rest };
        } else {
            self.wait(now);
        }
    }

    fn wait(&mut self, now: Duration) {
        let delay = jittered(self.interval.unwrap_or_default(), self.random);
        self.state = AntiEntropyState::Waiting {
            at: now + delay,
            suspects: Vec::new(),
        };
    }
}

/// Takes ranges from the front, and skips those without reports.
fn take_some(ranges: &mut VecDeque<(usize, u64)>) -> Vec<usize> {
    let (mut taken, mut total) = (Vec::new(), 0);
    while let Some((at, reports)) = ranges.pop_front() {
        if reports > 0 {
            taken.push(at);
            total += reports;
        }
        let next = ranges.front().map_or(0, |(_, reports)| *reports);
        if total + next > MAX_COLLECTED_REPORTS {
            break;
        }
    }
    taken
}

/// Returns a time between half of `interval` and all of it, so that the links of a herd do not
/// compare at one time.
fn jittered(interval: Duration, random: u64) -> Duration {
    interval.mul_f64((1.0 + random as f64 / u64::MAX as f64) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn range(ours: u64, theirs: u64) -> ComparedRange {
        let digest = |clients| RangeDigest {
            clients,
            hashes: u128::from(clients) * 7,
        };
        ComparedRange {
            ours: digest(ours),
            theirs: digest(theirs),
            is_settled: true,
        }
    }

    /// A link that has begun its second comparison, after one with these results.
    fn second_comparison(first: &[ComparedRange]) -> AntiEntropy {
        let mut it = AntiEntropy::new(Some(INTERVAL), 0);
        assert_eq!(it.next(INTERVAL / 2), AntiEntropyStep::Compare);
        assert_eq!(it.compared(INTERVAL, Some(first), 0), 0);
        assert_eq!(it.next(INTERVAL + RECHECK_DELAY), AntiEntropyStep::Compare);
        it
    }

    fn waits(it: &mut AntiEntropy, now: Duration) -> bool {
        it.next(now) == AntiEntropyStep::Wait(Some(now + INTERVAL / 2))
    }

    #[test]
    fn equal_servers_are_compared_at_each_interval_and_push_nothing() {
        let mut it = AntiEntropy::new(Some(INTERVAL), u64::MAX);
        assert_eq!(
            it.next(Duration::ZERO),
            AntiEntropyStep::Wait(Some(INTERVAL))
        );
        assert_eq!(it.next(INTERVAL), AntiEntropyStep::Compare);
        assert_eq!(it.next(INTERVAL), AntiEntropyStep::Wait(None));
        assert_eq!(it.compared(INTERVAL, Some(&[range(3, 3)]), 0), 0);
        assert!(waits(&mut it, INTERVAL));
    }

    #[test]
    fn only_a_range_that_differs_twice_in_the_same_way_is_pushed_again() {
        let first = [range(3, 2), range(5, 5), range(4, 3), range(0, 1)];
        let mut it = second_comparison(&first);
        let mut second = first;
        second[1] = range(5, 4);
        second[2] = range(4, 4);
        assert_eq!(it.compared(INTERVAL, Some(&second), 0), 2);
        // The neighbour's own link pushes what is missing here.
        assert_eq!(it.next(INTERVAL), AntiEntropyStep::Collect(vec![0]));
        let batch = |reports| CollectedSize {
            reports,
            bytes: 100 * reports,
        };
        it.collected(INTERVAL, [batch(2), batch(1)].into());
        assert_eq!(it.next(INTERVAL), AntiEntropyStep::Push(batch(2)));
        it.pushed(INTERVAL);
        assert_eq!(it.next(INTERVAL), AntiEntropyStep::Push(batch(1)));
        it.pushed(INTERVAL);
        assert!(waits(&mut it, INTERVAL));
    }

    #[test]
    fn a_range_that_changes_is_not_pushed_again() {
        let unsettled = ComparedRange {
            is_settled: false,
            ..range(3, 2)
        };
        for second in [unsettled, range(4, 2), range(3, 1)] {
            let mut it = second_comparison(&[range(3, 2)]);
            assert_eq!(it.compared(INTERVAL, Some(&[second]), 0), 0, "{second:?}");
            assert!(waits(&mut it, INTERVAL));
        }
        let mut it = AntiEntropy::new(Some(INTERVAL), 0);
        assert_eq!(it.next(INTERVAL), AntiEntropyStep::Compare);
        assert_eq!(it.compared(INTERVAL, Some(&[unsettled]), 0), 0);
        assert!(waits(&mut it, INTERVAL));
    }

    #[test]
    fn many_ranges_are_collected_in_bounded_parts() {
        let ranges = [
            range(30_000, 0),
            range(20_000, 1),
            range(1, 0),
            range(90_000, 0),
        ];
        let mut it = second_comparison(&ranges);
        assert_eq!(it.compared(INTERVAL, Some(&ranges), 0), 4);
        for part in [vec![0, 1], vec![2], vec![3]] {
            assert_eq!(it.next(INTERVAL), AntiEntropyStep::Collect(part));
            // All of them were replaced meanwhile.
            it.collected(INTERVAL, VecDeque::new());
        }
        assert!(waits(&mut it, INTERVAL));
    }

    #[test]
    fn a_failed_comparison_and_a_broken_link_give_up_until_the_next_interval() {
        let mut it = second_comparison(&[range(3, 2)]);
        assert_eq!(it.compared(INTERVAL, None, 0), 0);
        assert!(waits(&mut it, INTERVAL));

        let mut it = second_comparison(&[range(3, 2)]);
        it.compared(INTERVAL, Some(&[range(3, 2)]), 0);
        assert_eq!(it.next(INTERVAL), AntiEntropyStep::Collect(vec![0]));
        it.abandon(INTERVAL);
        it.collected(INTERVAL, VecDeque::new());
        assert!(waits(&mut it, INTERVAL));
    }

    #[test]
    fn servers_that_should_differ_are_not_compared() {
        let mut it = AntiEntropy::new(Some(INTERVAL), 0);
        it.set_comparable(false);
        assert_eq!(it.next(2 * INTERVAL), AntiEntropyStep::Wait(None));
        let mut off = AntiEntropy::new(None, 0);
        assert_eq!(off.next(2 * INTERVAL), AntiEntropyStep::Wait(None));
    }
}
