//! The pauses of a link that is down.

use std::time::Duration;

use tower::util::rng::{HasherRng, Rng};

/// The first retry of a link that is down comes within 50 ms: after this pause
/// at most, and what a busy machine adds.
const FIRST: Duration = Duration::from_millis(40);

/// Pauses that double up to a cap. Each is drawn from the upper half of what it
/// may be, so that links that went down together do not come back together,
/// however long they are down.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    cap: Duration,
    random: HasherRng,
}

impl Backoff {
    /// Pauses of at most `cap`.
    pub(super) fn new(cap: Duration) -> Self {
        Self {
            next: FIRST.min(cap),
            cap,
            random: HasherRng::new(),
        }
    }

    /// Begins again with a short pause.
    pub(super) fn reset(&mut self) {
        self.next = FIRST.min(self.cap);
    }

    /// How long to pause now.
    pub(super) fn pause(&mut self) -> Duration {
        let most = self.next;
        self.next = (most * 2).min(self.cap);
        most.mul_f64((1.0 + self.random.next_f64()) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_never_agree() {
        let cap = Duration::from_secs(1);
        let mut backoff = Backoff::new(cap);
        let pauses: Vec<_> = std::iter::repeat_with(|| backoff.pause())
            .take(20)
            .collect();
        let mut most = FIRST;
        for pause in &pauses {
            assert!((most / 2..=most).contains(pause), "{pause:?} of {most:?}");
            most = (most * 2).min(cap);
        }
        let capped = &pauses[10..];
        assert!(capped.iter().any(|pause| *pause != capped[0]), "{capped:?}");
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
