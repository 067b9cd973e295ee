//! A rate limit on lines, with time as an argument.
//!
//! It is the generic cell rate algorithm of ATM networks (ITU-T I.371): a leaky bucket that needs
//! one instant and no timer, the time at which everything taken so far is paid for at an even
//! rate. Lines over the limit are delayed and not rejected: a connection that finds the budget
//! empty reserves one line in advance and waits until that line is due. Reservations are due in
//! the order in which they are made, and each wait ends with a line.
//!
//! The crate `governor` implements the same algorithm, but it rejects what exceeds the limit and
//! has no reservations, so that all waiting connections retry at once. It also keeps the state of
//! an address until its owner sweeps all of them.

use std::time::Duration;

use tokio::time::Instant;

/// A number of lines per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineRate {
    per_second: u32,
}

/// The state of the generic cell rate algorithm for one address.
///
/// The rate may change between calls: the whole budget is available at the new one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gcra {
    /// When the whole budget is available again, and the rate of what was charged; it is
    /// available now if that time has passed.
    full_at: Option<(Instant, LineRate)>,
}

impl LineRate {
    /// Creates a rate of `per_second` lines per second, at least one.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        Self { per_second }
    }

    pub(super) fn per_second(self) -> u32 {
        self.per_second
    }

    /// Returns the time that so many lines take at this rate.
    fn time_of(self, lines: usize) -> Duration {
        let line = Duration::from_secs(1) / self.per_second;
        line.saturating_mul(u32::try_from(lines).unwrap_or(u32::MAX))
    }

    /// Returns the size of a burst after a quiet time, as a time: the lines of one second.
    fn burst(self) -> Duration {
        self.time_of(self.per_second as usize)
    }
}

impl Gcra {
    /// Returns the number of lines that may be taken at `now`.
    pub(super) fn available(&self, now: Instant, rate: LineRate) -> usize {
        let rest = rate.burst().saturating_sub(self.debt(now, rate));
        (rest.as_nanos() / rate.time_of(1).as_nanos()) as usize
    }

    /// Charges lines that are taken at `now`.
    pub(super) fn charge(&mut self, now: Instant, lines: usize, rate: LineRate) {
        self.full_at = Some((now + self.debt(now, rate) + rate.time_of(lines), rate));
    }

    /// Charges one line in advance and returns the time at which it is due. If none is available
    /// at `now`, only earlier reservations are due before it.
    pub(super) fn reserve(&mut self, now: Instant, rate: LineRate) -> Instant {
        self.charge(now, 1, rate);
        now + self.debt(now, rate).saturating_sub(rate.burst())
    }

    /// Returns true if the whole budget is available, as if nothing had been taken.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|(at, _)| at <= now)
    }

    fn debt(&self, now: Instant, rate: LineRate) -> Duration {
        match self.full_at {
            Some((at, charged_at)) if charged_at == rate => at.saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_lines_of_a_second_may_be_taken_at_once_and_further_ones_at_an_even_rate() {
        for per_second in [1, 3, 10, 500_000, 1_000_000] {
            let (rate, start) = (LineRate::new(per_second), Instant::now());
            let mut budget = Gcra::default();
            let all = per_second as usize;
            assert_eq!(budget.available(start, rate), all);
            budget.charge(start, all, rate);
            assert_eq!(budget.available(start, rate), 0);
            assert!(!budget.is_full(start));
            let half = start + millis(500);
            assert_eq!(budget.available(half, rate), all / 2, "{per_second}");
            let later = start + millis(1001);
            assert_eq!(budget.available(later, rate), all);
            assert!(budget.is_full(later));
        }
    }

    #[test]
    fn unused_time_accumulates_up_to_one_second() {
        let (rate, start) = (LineRate::new(10), Instant::now());
        let mut budget = Gcra::default();
        budget.charge(start, 1, rate);
        let later = start + Duration::from_secs(1000);
        assert_eq!(budget.available(later, rate), 10);
        budget.charge(later, 10, rate);
        assert_eq!(budget.available(later + millis(99), rate), 0);
        assert_eq!(budget.available(later + millis(100), rate), 1);
    }

    #[test]
    fn reservations_are_due_one_by_one_at_the_rate_and_in_order() {
        let (rate, start) = (LineRate::new(10), Instant::now());
        let mut budget = Gcra::default();
        budget.charge(start, 10, rate);
        for nth in 1..=1000 {
            assert_eq!(budget.reserve(start, rate), start + millis(100) * nth);
            assert_eq!(budget.available(start + millis(100) * nth, rate), 0);
        }
        assert_eq!(budget.available(start + millis(100) * 1001, rate), 1);
    }

    #[test]
    fn no_interval_exceeds_its_rate_and_one_burst() {
        // Connections that always have more to send, and at times wake late.
        let (rate, start) = (LineRate::new(50), Instant::now());
        let mut budget = Gcra::default();
        let mut waiting = [start; 7];
        let (mut taken, mut now) = (0, start);
        for step in 0..10_000_u64 {
            now = now.max(*waiting.iter().min().unwrap()) + Duration::from_micros(step % 1500);
            for due in waiting.iter_mut().filter(|due| **due <= now) {
                let reserved = usize::from(*due != start);
                let more = budget.available(now, rate);
                budget.charge(now, more, rate);
                taken += reserved + more;
                *due = budget.reserve(now, rate);
            }
            let most = 50.0 * (now - start).as_secs_f64() + 50.0;
            assert!(taken as f64 <= most + 1e-6, "{taken} in {:?}", now - start);
            assert!(taken as f64 >= most - 60.0, "{taken} in {:?}", now - start);
        }
    }
}
