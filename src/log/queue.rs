//! Where appenders and the writer meet.
//!
//! Appending takes a lock that is held for one copy, and wakes the writer only when there was
//! nothing to write before: about twenty times a second under load, so that nearly every append
//! is free of system calls.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::backlog::{Backlog, Block, Pushed};
use super::locks;

/// How long the writer lets lines gather before it writes them. Longer: nearer to the fifth of a
/// second that an entry may take; shorter: more and smaller writes.
const GATHER: Duration = Duration::from_millis(50);

/// How long after a failed write the next one is tried.
const RETRY: Duration = Duration::from_millis(250);

/// What appenders and the writer share: a std mutex, as it is held for one copy and never across an
/// await.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Those who flush wait here.
    progress: Condvar,
}

/// Invariant: `settled <= taken <= settled + 1`.
#[derive(Default)]
struct State {
    backlog: Backlog,
    /// The writer is not to wait: somebody flushes, or the backlog is high.
    hurry: bool,
    /// No handle is left.
    closed: bool,
    /// Blocks that the writer has taken from the backlog.
    taken: u64,
    /// Blocks of those that are in the file.
    settled: u64,
    /// Writes that failed.
    faults: u64,
}

impl Queue {
    /// Adds `count` whole lines, which are dropped and counted if the backlog is full.
    pub(super) fn push(&self, lines: &[u8], count: usize) {
        let Some(mut state) = locks::lock(&self.state) else {
            return;
        };
        let pushed = state.backlog.push(lines, count);
        state.hurry |= pushed == Pushed::High;
        drop(state); // first, or the woken writer would find it locked
        if pushed != Pushed::Quietly {
            self.work.notify_one();
        }
    }

    /// Waits until all that was pushed before is in the file, a write fails, or `limit` is over. Gives
    /// whether all is in the file.
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

    /// How many lines found the backlog full, ever.
    pub(super) fn dropped(&self) -> u64 {
        locks::lock(&self.state).map_or(0, |state| state.backlog.dropped())
    }

    /// Says that nothing more will be pushed.
    pub(super) fn close(&self) {
        if let Some(mut state) = locks::lock(&self.state) {
            state.closed = true;
        }
        self.work.notify_one();
    }

    /// Waits for lines, up to `limit` where there is one, lets more gather, and moves them into
    /// `block`, which is empty, and stays so if none came in time. False if there are none and none
    /// can come.
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

    /// Says that what was taken is in the file.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        state.settled = state.taken;
        self.progress.notify_all();
    }

    /// Tells those who flush that a write failed, and waits for the time of the next. False if no
    /// handle was left before the write: then nobody is served by another.
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

    /// `None` once the limit is over; a queue that is closed is not waited for.
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

    /// For the writer, which never panics and so always gets the lock.
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
