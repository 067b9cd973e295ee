//! The queue between appenders and the writer.
//!
//! Appending takes a lock that is held for one copy, and wakes the writer only if there was nothing
//! to write before: about twenty times a second under load, so nearly every append makes no system
//! call.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::backlog::{Backlog, Block, Pushed};
use super::locks;

/// Time that the writer lets lines gather before it writes them. Longer: nearer to the 200 ms that
/// an entry may take; shorter: more and smaller writes.
const GATHER: Duration = Duration::from_millis(50);

/// Time between a failed write and the next try.
const RETRY: Duration = Duration::from_millis(250);

/// The state that appenders and the writer share. It is a std mutex, as it is held for one copy and
/// never across an await.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes callers of `flush`.
    progress: Condvar,
}

/// Invariant: `settled <= taken <= settled + 1`.
#[derive(Default)]
struct State {
    backlog: Backlog,
    /// Set while the writer must not wait: a flush is pending, or the backlog is high.
    hurry: bool,
    /// Set when the last handle is dropped.
    closed: bool,
    /// Number of blocks that the writer has taken from the backlog.
    taken: u64,
    /// Number of those blocks that are in the file.
    settled: u64,
    /// Number of failed writes.
    faults: u64,
}

impl Queue {
    /// Adds `count` whole lines, or drops and counts them if the backlog is full.
    pub(super) fn push(&self, lines: &[u8], count: usize) {
        let Some(mut state) = locks::lock(&self.state) else {
            return;
        };
        let pushed = state.backlog.push(lines, count);
        state.hurry |= pushed == Pushed::High;
        drop(state); // first: otherwise the woken writer finds it locked
        if pushed != Pushed::Quietly {
            self.work.notify_one();
        }
    }

    /// Waits until all lines pushed before are in the file, a write fails, or `limit` has passed.
    /// Returns true if all are in the file.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let Some(mut state) = locks::lock(&self.state) else {
            return false;
        };
        let target = state.taken + u64::from(!state.backlog.is_empty());
        if state.settled >= target {
            return true;
        }
        let faults = state.faults;
        state.hurry = true;
        self.work.notify_one();
        let waits = |state: &mut State| state.settled < target && state.faults == faults;
        let waited = self.progress.wait_timeout_while(state, limit, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.settled >= target
    }

    /// Returns the total number of lines dropped.
    pub(super) fn dropped(&self) -> u64 {
        locks::lock(&self.state).map_or(0, |state| state.backlog.dropped())
    }

    /// Closes the queue: no line is pushed after this.
    pub(super) fn close(&self) {
        if let Some(mut state) = locks::lock(&self.state) {
            state.closed = true;
        }
        self.work.notify_one();
    }

    /// Waits for lines (at most `limit`, if given), lets more gather, and moves them into `block`.
    /// The block must be empty, and stays empty if no line comes in time. Returns false if there
    /// are no lines and the queue is closed.
    pub(super) fn take_into(&self, block: &mut Block, limit: Option<Duration>) -> bool {
        let Some(state) = self.wait_for_lines(limit) else {
            return true;
        };
        let mut state = self.wait_unless_hurried(state, GATHER);
        if state.backlog.is_empty() {
            return false;
        }
        state.backlog.take_into(block);
        state.taken += 1;
        true
    }

    /// Records that the taken block is in the file.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        state.settled = state.taken;
        self.progress.notify_all();
    }

    /// Records a failed write, wakes callers of `flush`, and waits until the next try is due.
    /// Returns false if the queue was closed before the write: no other caller needs a retry then.
    pub(super) fn wait_to_retry(&self) -> bool {
        let mut state = self.lock();
        state.faults += 1;
        self.progress.notify_all();
        if state.closed {
            return false;
        }
        drop(self.wait_unless_hurried(state, RETRY));
        true
    }

    /// Waits for lines. Returns `None` if `limit` passes first; does not wait if the queue is
    /// closed.
    fn wait_for_lines(&self, limit: Option<Duration>) -> Option<MutexGuard<'_, State>> {
        let nothing = |state: &mut State| state.backlog.is_empty() && !state.closed;
        let Some(limit) = limit else {
            let state = self.work.wait_while(self.lock(), nothing);
            return Some(state.unwrap_or_else(PoisonError::into_inner));
        };
        let waited = self.work.wait_timeout_while(self.lock(), limit, nothing);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out()).then_some(state)
    }

    fn wait_unless_hurried<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        let idle = |state: &mut State| !state.hurry && !state.closed;
        let waited = self.work.wait_timeout_while(state, limit, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.hurry = false;
        state
    }

    /// Locks the state for the writer, which never panics and so always gets the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Queue {
    /// Holds the lock that appenders need until the result is dropped.
    pub(super) fn hold_lock(&self) -> impl Sized + '_ {
        self.lock()
    }
}
