//! Rate limits for log events that come in floods or with changing reasons.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A limit that allows one event of a kind in each interval. The total number of events is counted
/// by their owner.
#[derive(Debug)]
pub struct LogThrottle {
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    untold: u64,
}

impl LogThrottle {
    /// Creates a limit of one event for each `pause`.
    pub fn new(pause: Duration) -> Self {
        Self {
            pause,
            state: Mutex::default(),
        }
    }

    /// Records one more event. If it may be logged, returns the number of events suppressed since
    /// the last logged one.
    pub fn turn(&self) -> Option<u64> {
        self.turn_at(Instant::now())
    }

    fn turn_at(&self, now: Instant) -> Option<u64> {
        // The lock is held for a few reads and writes.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| now < told + self.pause) {
            state.untold += 1;
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

/// Formats the number of suppressed events as an ending of the logged one; empty for 0.
pub fn unwritten(untold: u64) -> String {
    match untold {
        0 => String::new(),
        count => format!(" ({count} more before this one were not written)"),
    }
}

/// A limit that allows an event when a failure begins, and once in each interval if the reason
/// differs from the one logged last.
#[derive(Debug)]
pub struct ReasonThrottle {
    pause: Duration,
    told: Option<(Instant, String)>,
}

impl ReasonThrottle {
    /// Creates a limit of one changed reason for each `pause`.
    pub fn new(pause: Duration) -> Self {
        Self { pause, told: None }
    }

    /// Records a failure with this reason; `begins` is true for its first event. Returns true if it
    /// is to be logged now, and counts it as logged.
    pub fn turn(&mut self, begins: bool, reason: &str) -> bool {
        self.turn_at(Instant::now(), begins, reason)
    }

    fn turn_at(&mut self, now: Instant, begins: bool, reason: &str) -> bool {
        let is_other = |(told, of): &(Instant, String)| of != reason && now > *told + self.pause;
        let is_due = begins || self.told.as_ref().is_none_or(is_other);
        if is_due {
            self.told = Some((now, reason.to_owned()));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_pause_is_told_with_how_many_were_not() {
        let pause = Duration::from_secs(1);
        let (seldom, start) = (LogThrottle::new(pause), Instant::now());
        assert_eq!(seldom.turn_at(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(seldom.turn_at(start + pause / 2), None);
        }
        assert_eq!(seldom.turn_at(start + pause), Some(1000));
        assert_eq!(seldom.turn_at(start + pause * 2), Some(0));
    }

    #[test]
    fn another_reason_is_told_once_in_a_pause_and_the_same_one_never() {
        let pause = Duration::from_secs(10);
        let (mut reasons, start) = (ReasonThrottle::new(pause), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(reasons.turn_at(at(0), false, "refused"));
        assert!(!reasons.turn_at(at(1), false, "timed out"));
        assert!(!reasons.turn_at(at(11), false, "refused"));
        assert!(reasons.turn_at(at(11), false, "timed out"));
        assert!(!reasons.turn_at(at(20), false, "refused"));
        assert!(reasons.turn_at(at(20), true, "timed out"));
        assert!(!reasons.turn_at(at(30), false, "refused"));
        assert!(reasons.turn_at(at(31), false, "refused"));
    }
}
