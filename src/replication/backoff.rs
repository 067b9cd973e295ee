//! The delays between the attempts of a link that is down.

use std::time::Duration;

/// Maximum delay before the first retry, which must come within 50 ms on a busy machine too.
const FIRST_DELAY: Duration = Duration::from_millis(40);

/// Delays that double up to a cap. Each is drawn from the upper half of its range, so that links
/// that went down together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Backoff {
    /// Returns delays of at most `cap`.
    pub(super) fn new(cap: Duration) -> Self {
        Self {
            next: FIRST_DELAY.min(cap),
            cap,
        }
    }

    /// Starts again with a short delay.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.cap);
    }

    /// Returns the next delay. `random` is any number, drawn for this call.
    pub(super) fn next_delay(&mut self, random: u64) -> Duration {
        let max = self.next;
        self.next = (max * 2).min(self.cap);
        let fraction = random as f64 / u64::MAX as f64;
        max.mul_f64((1.0 + fraction) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_fill_the_upper_half_of_their_range() {
        let cap = Duration::from_secs(1);
        let delays = |random| {
            let mut backoff = Backoff::new(cap);
            [(); 20].map(|()| backoff.next_delay(random))
        };
        let mut max = FIRST_DELAY;
        for (least, greatest) in delays(0).into_iter().zip(delays(u64::MAX)) {
            assert_eq!((least, greatest), (max / 2, max));
            max = (max * 2).min(cap);
        }
        let mut backoff = Backoff::new(cap);
        backoff.next_delay(0);
        backoff.reset();
        assert!(backoff.next_delay(u64::MAX) <= FIRST_DELAY);
    }
}
