//! How many lines may be taken in a time: a rule, with time as an argument.
//!
//! It is the generic cell rate algorithm of ATM networks (ITU-T I.371), a leaky
//! bucket that needs one instant and no timer: the time at which all that was
//! taken will have been paid for at an even pace. Nothing that is over has to be
//! refused here: who finds the budget used up is given a turn, which is paid for
//! in advance, and waits for it. So turns come in the order in which they were
//! asked for, and each wait ends with a line.
//!
//! The crate `governor` has the same algorithm. It refuses what is too much and
//! gives no turns, so that all who wait try again at once; and it keeps what it
//! knows of an address until its owner goes over all of them.

use std::time::Duration;

use tokio::time::Instant;

/// So many lines a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    per_second: u32,
}

/// What is left of one pace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gcra {
    /// When all of it is there again; it is now, where that has passed.
    full_at: Option<Instant>,
}

impl Rate {
    /// The pace of `per_second` lines a second; at least one.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        Self { per_second }
    }

    pub(super) fn per_second(self) -> u32 {
        self.per_second
    }

    /// How long so many lines take.
    fn time_of(self, lines: usize) -> Duration {
        let line = Duration::from_secs(1) / self.per_second;
        line.saturating_mul(u32::try_from(lines).unwrap_or(u32::MAX))
    }

    /// How much may be taken at once by who took nothing for a while: as many
    /// lines as in a second.
    fn burst(self) -> Duration {
        self.time_of(self.per_second as usize)
    }
}

impl Gcra {
    /// How many lines may be taken now.
    pub(super) fn left(&self, now: Instant, pace: Rate) -> usize {
        let rest = pace.burst().saturating_sub(self.debt(now));
        (rest.as_nanos() / pace.time_of(1).as_nanos()) as usize
    }

    /// So many lines are taken now.
    pub(super) fn charge(&mut self, now: Instant, lines: usize, pace: Rate) {
        self.full_at = Some(now + self.debt(now) + pace.time_of(lines));
    }

    /// A line will be taken later: gives when. Where none is left now, no other
    /// line is taken before it that was not given an earlier turn.
    pub(super) fn turn(&mut self, now: Instant, pace: Rate) -> Instant {
        self.charge(now, 1, pace);
        now + self.debt(now).saturating_sub(pace.burst())
    }

    /// Is it as if nothing had ever been taken?
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.debt(now).is_zero()
    }

    fn debt(&self, now: Instant) -> Duration {
        self.full_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_second_s_worth_may_be_taken_at_once_and_then_an_even_pace() {
        for per_second in [1, 3, 10, 500_000, 1_000_000] {
            let (pace, start) = (Rate::new(per_second), Instant::now());
            let mut budget = Gcra::default();
            let all = per_second as usize;
            assert_eq!(budget.left(start, pace), all);
            budget.charge(start, all, pace);
            assert_eq!(budget.left(start, pace), 0);
            assert!(!budget.is_full(start));
            let half = start + millis(500);
            assert_eq!(budget.left(half, pace), all / 2, "{per_second}");
            let later = start + millis(1001);
            assert_eq!(budget.left(later, pace), all);
            assert!(budget.is_full(later));
        }
    }

    #[test]
    fn time_that_was_not_used_is_not_saved_up_past_a_second() {
        let (pace, start) = (Rate::new(10), Instant::now());
        let mut budget = Gcra::default();
        budget.charge(start, 1, pace);
        let later = start + Duration::from_secs(1000);
        assert_eq!(budget.left(later, pace), 10);
        budget.charge(later, 10, pace);
        assert_eq!(budget.left(later + millis(99), pace), 0);
        assert_eq!(budget.left(later + millis(100), pace), 1);
    }

    #[test]
    fn turns_come_one_by_one_at_the_pace_and_in_order() {
        let (pace, start) = (Rate::new(10), Instant::now());
        let mut budget = Gcra::default();
        budget.charge(start, 10, pace);
        for turn in 1..=1000 {
            assert_eq!(budget.turn(start, pace), start + millis(100) * turn);
            assert_eq!(budget.left(start + millis(100) * turn, pace), 0);
        }
        assert_eq!(budget.left(start + millis(100) * 1001, pace), 1);
    }

    #[test]
    fn in_any_time_no_more_is_taken_than_its_pace_and_one_burst() {
        // Connections that always have more to say, and wake late at times.
        let (pace, start) = (Rate::new(50), Instant::now());
        let mut budget = Gcra::default();
        let mut waiting = [start; 7];
        let (mut taken, mut now) = (0, start);
        for step in 0..10_000_u64 {
            now = now.max(*waiting.iter().min().unwrap()) + Duration::from_micros(step % 1500);
            for turn in waiting.iter_mut().filter(|turn| **turn <= now) {
                let left = match *turn == start {
                    true => 0,
                    false => 1,
                };
                let more = budget.left(now, pace);
                budget.charge(now, more, pace);
                taken += left + more;
                *turn = budget.turn(now, pace);
            }
            let most = 50.0 * (now - start).as_secs_f64() + 50.0;
            assert!(taken as f64 <= most + 1e-6, "{taken} in {:?}", now - start);
            assert!(taken as f64 >= most - 60.0, "{taken} in {:?}", now - start);
        }
    }
}
