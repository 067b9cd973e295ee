//! The time of day.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::timestamp::UnixNanos;

/// A clock for the time of day, in nanoseconds since 1970. Timers use the monotonic clock instead.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixNanos + Send + Sync>);

impl Clock {
    /// Returns the system's clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since_1970 = SystemTime::UNIX_EPOCH.elapsed();
            UnixNanos(since_1970.map_or_else(
                |before| -saturating_nanos(before.duration()),
                saturating_nanos,
            ))
        })
    }

    /// Creates a clock for tests and simulations.
    pub fn new(now: impl Fn() -> UnixNanos + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the current time.
    pub fn now(&self) -> UnixNanos {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

/// Returns a duration in nanoseconds, at most 292 years.
pub(super) fn saturating_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
