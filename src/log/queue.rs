//! The queue between the code that logs and the thread that writes.
//!
//! Appending takes a lock that is held for one copy, and wakes the writer only if there was nothing
//! to write before: about twenty times a second under load, so nearly every append makes no system
//! call.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::lock::lock;

/// Maximum number of bytes that wait for the writer. The writer holds as much again while it
/// writes, so a log uses at most twice this. 16 MiB are about 125,000 lines, 100 ms at a million
/// lines a second. Higher: more memory while the disk is stuck; lower: more is lost in a brief
/// stall.
pub(super) const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Number of bytes at which the writer is woken without waiting for more to gather. Much higher:
/// the buffers leave the processor's caches between being filled and being written; much lower:
/// more wake-ups, each of which costs the appender that crosses it a system call.
const HIGH_WATER_BYTES: usize = 1024 * 1024;

/// Capacity that an idle buffer may keep, so that a low rate of lines does not allocate.
const KEPT_CAPACITY_BYTES: usize = 64 * 1024;

/// Time between a failed write and the next try.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Whole lines on their way to a writer.
#[derive(Debug, Default)]
pub(super) struct LogBlock {
    /// The lines, each with its line end.
    pub(super) lines: Vec<u8>,
    /// Number of lines in the block.
    pub(super) count: u64,
    /// Number of lines missing after them, dropped because the queue was full.
    pub(super) dropped: u64,
}

impl LogBlock {
    /// Empties the block. Its buffer keeps room for twice its last length, so that a steady load
    /// does not allocate and the memory of a burst is freed.
    pub(super) fn clear(&mut self) {
        let room = KEPT_CAPACITY_BYTES.max(2 * self.lines.len());
        self.lines.clear();
        self.lines.shrink_to(room);
        self.count = 0;
        self.dropped = 0;
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

/// The state that appenders and the writer share.
///
/// It is a std mutex, as it is held for one copy and never across an await. No code under it
/// panics, so that the panic hook can log, and its data is valid even if it is poisoned.
pub(super) struct LogQueue {
    state: Mutex<QueueState>,
    /// Time that the writer lets lines gather before it takes them.
    gather_time: Duration,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes callers of `flush`.
    progress: Condvar,
}

/// Invariant: `settled <= taken <= settled + 1`.
#[derive(Default)]
struct QueueState {
    /// The block being filled.
    filling: LogBlock,
    /// Total number of dropped lines.
    dropped: u64,
    /// Set while the writer must not wait: a flush is pending, or the block is large.
    is_urgent: bool,
    /// Set when the last handle is dropped.
    is_closed: bool,
    /// Number of blocks that the writer has taken.
    taken: u64,
    /// Number of those blocks that are written.
    settled: u64,
    /// Number of failed writes.
    faults: u64,
}

impl LogQueue {
    /// Creates an empty queue, whose writer lets lines gather for `gather_time`.
    pub(super) fn new(gather_time: Duration) -> LogQueue {
        LogQueue {
            state: Mutex::default(),
            gather_time,
            work: Condvar::new(),
            progress: Condvar::new(),
        }
    }

    /// Adds `count` whole lines, or drops and counts them if they do not fit. After the first
    /// dropped line all are dropped until the writer takes the block, so that each block has at
    /// most one gap.
    pub(super) fn push(&self, lines: &[u8], count: usize) {
        let mut state = self.lock();
        let was_empty = state.filling.is_empty();
        let before = state.filling.lines.len();
        let after = before + lines.len();
        if state.filling.dropped > 0 || after > MAX_WAITING_BYTES {
            state.filling.dropped += count as u64;
            state.dropped += count as u64;
        } else {
            state.filling.lines.extend_from_slice(lines);
            state.filling.count += count as u64;
        }
        let is_high = before < HIGH_WATER_BYTES && after >= HIGH_WATER_BYTES;
        state.is_urgent |= is_high;
        drop(state); // first: otherwise the woken writer finds it locked
        if was_empty || is_high {
            self.work.notify_one();
        }
    }

    /// Waits until all lines pushed before are written, a write fails, or `limit` has passed.
    /// Returns true if all are written.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let mut state = self.lock();
        let target = state.taken + u64::from(!state.filling.is_empty());
        if state.settled >= target {
            return true;
        }
        let faults = state.faults;
        state.is_urgent = true;
        self.work.notify_one();
        let is_pending = |state: &mut QueueState| state.settled < target && state.faults == faults;
        let waited = self.progress.wait_timeout_while(state, limit, is_pending);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.settled >= target
    }

    /// Returns the total number of dropped lines.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Closes the queue: no line is pushed after this.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.work.notify_one();
    }

    /// Waits for lines, lets more gather, and moves them into `block`, which must be empty and
    /// whose buffer is filled next. Returns false if there are no lines and the queue is closed.
    pub(super) fn take_into(&self, block: &mut LogBlock) -> bool {
        let is_idle = |state: &mut QueueState| state.filling.is_empty() && !state.is_closed;
        let state = self.work.wait_while(self.lock(), is_idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let mut state = self.wait_unless_urgent(state, self.gather_time);
        if state.filling.is_empty() {
            return false;
        }
        std::mem::swap(&mut state.filling, block);
        state.taken += 1;
        true
    }

    /// Records that the taken block is written.
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
        if state.is_closed {
            return false;
        }
        drop(self.wait_unless_urgent(state, RETRY_INTERVAL));
        true
    }

    fn wait_unless_urgent<'a>(
        &self,
        state: MutexGuard<'a, QueueState>,
        limit: Duration,
    ) -> MutexGuard<'a, QueueState> {
        let may_wait = |state: &mut QueueState| !state.is_urgent && !state.is_closed;
        let waited = self.work.wait_timeout_while(state, limit, may_wait);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_urgent = false;
        state
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &LogQueue) -> LogBlock {
        let mut block = LogBlock::default();
        assert!(queue.take_into(&mut block));
        block
    }

    #[test]
    fn lines_are_taken_in_order() {
        let queue = LogQueue::new(Duration::ZERO);
        queue.push(b"one\n", 1);
        queue.push(b"two\nthree\n", 2);
        let block = taken(&queue);
        assert_eq!(block.lines, b"one\ntwo\nthree\n");
        assert_eq!((block.count, block.dropped), (3, 0));
        queue.close();
        assert!(!queue.take_into(&mut LogBlock::default()));
    }

    #[test]
    fn lines_that_do_not_fit_are_counted_and_leave_one_gap() {
        let queue = LogQueue::new(Duration::ZERO);
        let large = vec![b'\n'; MAX_WAITING_BYTES - 5];
        queue.push(&large, large.len());
        queue.push(b"fit\n", 1);
        queue.push(b"does not fit\n", 1);
        queue.push(b"\n", 1); // would fit, but follows a gap
        let block = taken(&queue);
        assert!(block.lines.ends_with(b"\nfit\n"));
        assert_eq!(block.lines.len(), MAX_WAITING_BYTES - 1);
        assert_eq!(block.dropped, 2);
        queue.push(b"fits again\n", 1);
        assert_eq!(taken(&queue).lines, b"fits again\n");
        queue.push(&vec![b'\n'; MAX_WAITING_BYTES + 1], 9);
        assert_eq!(taken(&queue).dropped, 9);
        assert_eq!(queue.dropped(), 11);
    }

    #[test]
    fn buffers_shrink_after_a_burst_and_not_under_steady_load() {
        let mut block = LogBlock::default();
        block.lines.resize(4 * HIGH_WATER_BYTES, b'\n');
        let capacity = block.lines.capacity();
        block.clear();
        assert_eq!(block.lines.capacity(), capacity);
        block.lines.extend_from_slice(b"a line\n");
        block.clear();
        assert!(block.lines.capacity() <= 2 * KEPT_CAPACITY_BYTES);
    }
}
