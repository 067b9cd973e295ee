//! Waits for a condition, with a limit.

use std::thread;
use std::time::{Duration, Instant};

/// Time limit of each wait. It is far more than any wait needs: it ends a test that hangs, and does
/// not measure.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

/// Time between two checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// Repeats `check` until it returns a value.
///
/// # Panics
/// After [`MAX_WAIT`], with `what`.
#[track_caller]
pub fn eventually<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    within(MAX_WAIT, what, check)
}

/// Does the same as [`eventually`] with another time limit.
///
/// # Panics
/// After `limit`, with `what`.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, check: impl FnMut() -> Option<T>) -> T {
    match poll(limit, check) {
        Some(found) => found,
        None => panic!("not within {limit:?}: {what}"),
    }
}

/// Repeats `check` until it returns a value. Returns `None` after `limit`.
pub(super) fn poll<T>(limit: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = check();
        if found.is_some() || start.elapsed() >= limit {
            return found;
        }
        thread::sleep(CHECK_INTERVAL);
    }
}
