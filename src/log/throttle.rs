//! Rate limits for log events that come in floods or with changing reasons.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// A limit that allows one event of a kind in each interval. The total number of events is counted
/// by their owner.
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    state: Mutex<ThrottleState>,
}

#[derive(Debug, Default)]
struct ThrottleState {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Creates a limit of one event in each `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            state: Mutex::default(),
        }
    }

    /// Records one more event. If it may be logged, returns the number of events suppressed since
    /// the last logged one.
    pub fn admit(&self) -> Option<Suppressed> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<Suppressed> {
        // The lock is held for a few reads and writes.
        let mut state = lock(&self.state);
        if state.last.is_some_and(|last| now < last + self.interval) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(Suppressed(std::mem::take(&mut state.suppressed)))
    }
}

/// A number of suppressed events. It is displayed as the end of the next logged one; empty for 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Suppressed(0) => Ok(()),
            Suppressed(count) => write!(f, " (suppressed {count} before this one)"),
        }
    }
}

/// A limit that allows an event when a failure begins, and once in each interval if the reason
/// differs from the one logged last.
#[derive(Debug)]
pub struct ReasonThrottle {
    interval: Duration,
    /// The time and the reason of the last logged event.
    last: Option<(Instant, String)>,
}

impl ReasonThrottle {
    /// Creates a limit of one changed reason in each `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
        }
    }

    /// Records a failure with this reason; `begins` is true for its first event. Returns true if it
    /// is to be logged now, and counts it as logged.
    pub fn admit(&mut self, begins: bool, reason: &str) -> bool {
        self.admit_at(Instant::now(), begins, reason)
    }

    fn admit_at(&mut self, now: Instant, begins: bool, reason: &str) -> bool {
        let is_other = |(at, last): &(Instant, String)| last != reason && now > *at + self.interval;
        let is_due = begins || self.last.as_ref().is_none_or(is_other);
        if is_due {
            self.last = Some((now, reason.to_owned()));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_in_an_interval_is_logged_with_the_number_of_suppressed_ones() {
        let interval = Duration::from_secs(1);
        let (throttle, start) = (LogThrottle::new(interval), Instant::now());
        assert_eq!(throttle.admit_at(start), Some(Suppressed(0)));
        for _ in 0..1000 {
            assert_eq!(throttle.admit_at(start + interval / 2), None);
        }
        let next = throttle.admit_at(start + interval).unwrap();
        assert_eq!(next.to_string(), " (suppressed 1000 before this one)");
        let last = throttle.admit_at(start + interval * 2).unwrap();
        assert_eq!(last.to_string(), "");
    }

    #[test]
    fn a_changed_reason_is_logged_once_in_an_interval_and_the_same_one_never() {
        let (mut throttle, start) = (ReasonThrottle::new(Duration::from_secs(10)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(throttle.admit_at(at(0), false, "rejected"));
        assert!(!throttle.admit_at(at(1), false, "timed out"));
        assert!(!throttle.admit_at(at(11), false, "rejected"));
        assert!(throttle.admit_at(at(11), false, "timed out"));
        assert!(!throttle.admit_at(at(20), false, "rejected"));
        assert!(throttle.admit_at(at(20), true, "timed out"));
        assert!(!throttle.admit_at(at(30), false, "rejected"));
        assert!(throttle.admit_at(at(31), false, "rejected"));
    }
}
