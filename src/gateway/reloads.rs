//! The outcome of reading the config.

use std::sync::{Mutex, MutexGuard};

use crate::lock::lock;
use crate::model::timestamp::UnixNanos;

/// The outcome of the last reload of the config. The start counts as the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadOutcome {
    /// True if the config was applied.
    pub is_successful: bool,
    /// Time of the last reload.
    pub at: UnixNanos,
    /// Time of the last successful reload.
    pub success_at: UnixNanos,
}

/// The last outcome. Servers of one process reload together.
#[derive(Debug)]
pub struct ReloadStatus(Mutex<ReloadOutcome>);

impl ReloadStatus {
    pub(super) fn new(started: UnixNanos) -> Self {
        Self(Mutex::new(ReloadOutcome {
            is_successful: true,
            at: started,
            success_at: started,
        }))
    }

    /// Records a reload.
    pub fn record(&self, is_successful: bool, now: UnixNanos) {
        let mut last = self.lock();
        last.is_successful = is_successful;
        last.at = now;
        if is_successful {
            last.success_at = now;
        }
    }

    /// Returns the last outcome.
    pub fn last(&self) -> ReloadOutcome {
        *self.lock()
    }

    /// The lock is held for a copy, never across an await.
    fn lock(&self) -> MutexGuard<'_, ReloadOutcome> {
        lock(&self.0)
    }
}
