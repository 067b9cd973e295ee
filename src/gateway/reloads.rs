//! What became of the config when it was read again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::timestamp::UnixNanos;

/// How reading the config went, the start included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadOutcome {
    /// Was the config taken up when it was read last?
    pub is_taken: bool,
    /// When that was.
    pub at: UnixNanos,
    /// When it was taken up last.
    pub taken_at: UnixNanos,
}

/// How reading the config went last. Servers of one process read it together.
#[derive(Debug)]
pub struct ReloadStatus(Mutex<ReloadOutcome>);

impl ReloadStatus {
    pub(super) fn new(started: UnixNanos) -> Self {
        Self(Mutex::new(ReloadOutcome {
            is_taken: true,
            at: started,
            taken_at: started,
        }))
    }

    /// The config was read again, and taken up or not.
    pub fn note(&self, is_taken: bool, now: UnixNanos) {
        let mut last = self.lock();
        *last = ReloadOutcome {
            is_taken,
            at: now,
            taken_at: if is_taken { now } else { last.taken_at },
        };
    }

    /// How it went last.
    pub fn last(&self) -> ReloadOutcome {
        *self.lock()
    }

    /// Held for a copy, never across an await.
    fn lock(&self) -> MutexGuard<'_, ReloadOutcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
