//! What arrives from one neighbour: since when nothing has, and from how many processes.
//!
//! Two processes that run as one server, by mistake on two machines, have two incarnations. Both
//! greet and push to the neighbours of that server, in turn. A restart shows two incarnations as
//! well, but the old one falls silent: what it had under way when it ended arrives within moments.
//! So an incarnation counts as a duplicate only if it is heard for a while after the first call of
//! a newer one.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::recent::touch_or_push;

/// Time after which a silent incarnation counts as gone: twice the maximum heartbeat.
pub const MAX_SILENCE: Duration = Duration::from_secs(20);

/// Time after the first call of an incarnation from which calls of an older one are not late.
const MIN_OVERLAP: Duration = Duration::from_secs(2);

/// Maximum number of incarnations that are kept: those heard last.
const MAX_INCARNATIONS: usize = 8;

/// The last incarnations of one neighbour, in the order in which they were heard last.
#[derive(Clone, Debug, Default)]
pub(super) struct IncomingCalls(Vec<HeardIncarnation>);

/// The greetings and pushes of one incarnation.
#[derive(Clone, Copy, Debug)]
struct HeardIncarnation {
    incarnation: u64,
    /// Where the last call came from, if that is known.
    from: Option<SocketAddr>,
    first: Instant,
    last: Instant,
}

/// Processes that run under the name of one neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateProcesses {
    /// Number of processes beyond the first.
    pub further: usize,
    /// The addresses that their last calls came from, where they are known.
    pub addresses: Vec<SocketAddr>,
}

impl IncomingCalls {
    /// Records a call of an incarnation.
    pub(super) fn record(&mut self, incarnation: u64, from: Option<SocketAddr>, now: Instant) {
        let make = || HeardIncarnation {
            incarnation,
            from,
            first: now,
            last: now,
        };
        let is_it = |it: &HeardIncarnation| it.incarnation == incarnation;
        let heard = touch_or_push(&mut self.0, MAX_INCARNATIONS, is_it, make);
        heard.last = now;
        heard.from = from.or(heard.from);
    }

    /// Returns the time of the last call, and its incarnation.
    pub(super) fn last(&self) -> Option<(Instant, u64)> {
        self.0.last().map(|it| (it.last, it.incarnation))
    }

    /// Returns the processes that call beside each other, or `None` if there is only one.
    pub(super) fn duplicates(&self, now: Instant) -> Option<DuplicateProcesses> {
        let [_, _, ..] = self.0.as_slice() else {
            return None;
        };
        let is_heard = |it: &&HeardIncarnation| now.duration_since(it.last) <= MAX_SILENCE;
        let heard = || self.0.iter().filter(is_heard);
        let overlaps = |older: &HeardIncarnation, newer: &HeardIncarnation| {
            newer.first >= older.first && older.last >= newer.first + MIN_OVERLAP
        };
        let beside = |it: &&HeardIncarnation| {
            let mut others = heard().filter(|other| other.incarnation != it.incarnation);
            others.any(|other| overlaps(it, other) || overlaps(other, it))
        };
        let processes: Vec<_> = heard().filter(beside).collect();
        let further = processes.len().checked_sub(1)?;
        let addresses = processes.iter().filter_map(|it| it.from).collect();
        Some(DuplicateProcesses { further, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Calls {
        calls: IncomingCalls,
        start: Instant,
    }

    impl Calls {
        fn new() -> Self {
            Self {
                calls: IncomingCalls::default(),
                start: Instant::now(),
            }
        }

        /// Records a call, and returns the number of further processes after it.
        fn call(&mut self, seconds: f64, incarnation: u64) -> usize {
            let from = SocketAddr::from(([10, 0, 0, incarnation as u8], 1));
            let now = self.start + Duration::from_secs_f64(seconds);
            self.calls.record(incarnation, Some(from), now);
            self.further(seconds)
        }

        fn further(&self, seconds: f64) -> usize {
            let now = self.start + Duration::from_secs_f64(seconds);
            self.calls.duplicates(now).map_or(0, |found| found.further)
        }
    }

    #[test]
    fn a_restart_is_no_duplicate_even_if_calls_of_the_old_process_arrive_late() {
        let mut calls = Calls::new();
        for n in 0..20 {
            assert_eq!(calls.call(f64::from(n) / 2.0, 1), 0);
        }
        assert_eq!(calls.call(10.0, 2), 0);
        assert_eq!(calls.call(10.1, 1), 0, "it was under way");
        for n in 0..60 {
            assert_eq!(calls.call(10.5 + f64::from(n) / 2.0, 2), 0);
        }
    }

    #[test]
    fn restarts_in_quick_succession_are_no_duplicates() {
        let mut calls = Calls::new();
        for n in 0..100 {
            assert_eq!(calls.call(f64::from(n) * 0.7, 1 + n as u64), 0);
        }
    }

    #[test]
    fn two_processes_that_call_in_turn_are_found_and_forgotten_when_one_has_ended() {
        let mut calls = Calls::new();
        assert_eq!(calls.call(0.0, 1), 0);
        assert_eq!(calls.call(1.0, 2), 0);
        assert_eq!(calls.call(2.9, 1), 0, "perhaps late");
        assert_eq!(calls.call(3.0, 1), 1);
        assert_eq!(calls.call(3.5, 2), 1);
        let found = calls.calls.duplicates(calls.start + Duration::from_secs(4));
        let addresses = found.unwrap().addresses;
        assert_eq!(addresses.len(), 2);
        for seconds in 4..=23 {
            assert_eq!(calls.call(f64::from(seconds), 2), 1);
        }
        assert_eq!(calls.call(23.1, 2), 0, "the other is silent");
    }

    #[test]
    fn an_old_process_that_resumes_beside_its_replacement_is_found() {
        let mut calls = Calls::new();
        calls.call(0.0, 1);
        for seconds in 5..100 {
            assert_eq!(calls.call(f64::from(seconds), 2), 0);
        }
        assert_eq!(calls.call(100.0, 1), 1);
    }

    #[test]
    fn a_second_process_that_ends_and_starts_all_the_time_is_found() {
        let mut calls = Calls::new();
        for n in 0..100 {
            let seconds = f64::from(n);
            calls.call(seconds, 1);
            let further = calls.call(seconds + 0.5, 100 + n as u64);
            assert!(further >= 1 || n < 4, "{n}");
        }
    }

    #[test]
    fn three_processes_are_two_too_many() {
        let mut calls = Calls::new();
        for n in 0..10 {
            for incarnation in 1..=3 {
                calls.call(f64::from(n), incarnation);
            }
        }
        assert_eq!(calls.further(9.0), 2);
        assert_eq!(calls.further(40.0), 0);
    }
}
