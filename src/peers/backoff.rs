//! The delays between the attempts of a link that is down.

use std::time::Duration;

use tower::util::rng::{HasherRng, Rng};

/// Maximum delay before the first retry, which must come within 50 ms on a busy machine
/// too.
const FIRST_DELAY: Duration = Duration::from_millis(40);

/// Delays that double up to a cap. Each is drawn from the upper half of its range, so
/// that links that went down together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    cap: Duration,
    random: HasherRng,
}

impl Backoff {
    /// Returns delays of at most `cap`.
    pub(super) fn new(cap: Duration) -> Self {
        Self {
            next: FIRST_DELAY.min(cap),
            cap,
            random: HasherRng::new(),
        }
    }

    /// Starts again with a short delay.
    pub(super) fn reset(&mut self) {
        self.next = FIRST_DELAY.min(self.cap);
    }

    /// Returns the next delay.
    pub(super) fn next_delay(&mut self) -> Duration {
        let max = self.next;
        self.next = (max * 2).min(self.cap);
        max.mul_f64((1.0 + self.random.next_f64()) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_differ() {
        let cap = Duration::from_secs(1);
        let mut backoff = Backoff::new(cap);
        let delays: Vec<_> = std::iter::repeat_with(|| backoff.next_delay())
            .take(20)
            .collect();
        let mut max = FIRST_DELAY;
        for delay in &delays {
            assert!((max / 2..=max).contains(delay), "{delay:?} of {max:?}");
            max = (max * 2).min(cap);
        }
        let capped = &delays[10..];
        assert!(capped.iter().any(|delay| *delay != capped[0]), "{capped:?}");
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST_DELAY);
    }
}
