//! The lines that wait for the writer: a bounded buffer, and a count of dropped lines.

/// Maximum number of bytes that wait for the writer. The writer holds as much again while it
/// writes, so a log uses at most twice this. 16 MiB are about 125,000 lines, 100 ms at a million
/// lines a second. Higher: more memory while the disk is stuck; lower: more is lost in a brief
/// stall.
pub(super) const LIMIT: usize = 16 * 1024 * 1024;

/// Number of bytes at which the writer is woken without waiting for more to gather. Much higher:
/// the buffers leave the processor's caches between being filled and being written; much lower:
/// more wake-ups, each of which costs the appender that crosses it a system call.
const HIGH_WATER: usize = 1024 * 1024;

/// Capacity that an idle buffer may keep, so that a low rate of lines does not allocate.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Whole lines on their way to the file.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The lines, each with its line end.
    pub(super) lines: Vec<u8>,
    /// Number of lines in the block.
    pub(super) count: u64,
    /// Number of lines missing after them, dropped because the backlog was full.
    pub(super) dropped: u64,
}

impl Block {
    /// Empties the block. Its buffer keeps room for twice its last length, so that a steady load
    /// does not allocate and the memory of a burst is freed.
    pub(super) fn clear(&mut self) {
        let room = KEPT_CAPACITY.max(2 * self.lines.len());
        self.lines.clear();
        self.lines.shrink_to(room);
        self.count = 0;
        self.dropped = 0;
    }
}

/// The effect of an append on the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// No wake-up is due: the writer has been notified before.
    Quietly,
    /// There is something to write, where there was nothing.
    First,
    /// The buffer has crossed the high-water mark: the writer does not wait for more.
    High,
}

/// The block being filled.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    filling: Block,
    /// Total number of dropped lines.
    dropped: u64,
}

impl Backlog {
    /// Adds `count` whole lines, or counts them as dropped if they do not fit. After the first
    /// dropped line all are dropped until the writer takes the block, so that each block has at
    /// most one gap.
    pub(super) fn push(&mut self, lines: &[u8], count: usize) -> Pushed {
        let before = self.filling.lines.len();
        let after = before + lines.len();
        if self.filling.dropped > 0 || after > LIMIT {
            let first = self.is_empty();
            self.filling.dropped += count as u64;
            self.dropped += count as u64;
            return if first {
                Pushed::First
            } else {
                Pushed::Quietly
            };
        }
        self.filling.lines.extend_from_slice(lines);
        self.filling.count += count as u64;
        match before {
            0 => Pushed::First,
            _ if before < HIGH_WATER && after >= HIGH_WATER => Pushed::High,
            _ => Pushed::Quietly,
        }
    }

    /// Returns true if there is nothing to write, not even a number of missing lines.
    pub(super) fn is_empty(&self) -> bool {
        self.filling.lines.is_empty() && self.filling.dropped == 0
    }

    /// Returns the total number of dropped lines.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Moves the waiting lines into `block`, whose (empty) buffer is filled next.
    pub(super) fn take_into(&mut self, block: &mut Block) {
        debug_assert!(
            block.lines.is_empty(),
            "the block's own lines would come back"
        );
        std::mem::swap(&mut self.filling, block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_in_order() {
        let mut backlog = Backlog::default();
        assert!(backlog.is_empty());
        assert_eq!(backlog.push(b"one\n", 1), Pushed::First);
        assert_eq!(backlog.push(b"two\nthree\n", 2), Pushed::Quietly);
        let mut block = Block::default();
        backlog.take_into(&mut block);
        assert!(backlog.is_empty());
        assert_eq!(block.lines, b"one\ntwo\nthree\n");
        assert_eq!((block.count, block.dropped), (3, 0));
    }

    #[test]
    fn crossing_the_high_water_mark_is_told_once() {
        let half = vec![b'\n'; HIGH_WATER / 2];
        let mut backlog = Backlog::default();
        assert_eq!(backlog.push(&half, half.len()), Pushed::First);
        assert_eq!(backlog.push(&half, half.len()), Pushed::High);
        assert_eq!(backlog.push(&half, half.len()), Pushed::Quietly);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_gap_is_one() {
        let most = vec![b'\n'; LIMIT - 5];
        let mut backlog = Backlog::default();
        backlog.push(&most, most.len());
        backlog.push(b"fit\n", 1);
        backlog.push(b"does not fit\n", 1);
        backlog.push(b"\n", 1); // would fit, but follows a gap
        let mut block = Block::default();
        backlog.take_into(&mut block);
        assert!(block.lines.ends_with(b"\nfit\n"));
        assert_eq!(block.lines.len(), LIMIT - 1);
        assert_eq!(block.dropped, 2);
        assert_eq!(backlog.push(b"fits again\n", 1), Pushed::First);
        assert_eq!(backlog.dropped(), 2);
    }

    #[test]
    fn a_block_larger_than_the_backlog_is_dropped_and_told() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.push(&vec![b'\n'; LIMIT + 1], 9), Pushed::First);
        assert!(!backlog.is_empty());
    }

    #[test]
    fn buffers_shrink_after_a_burst_and_not_under_steady_load() {
        let mut block = Block::default();
        block.lines.resize(4 * HIGH_WATER, b'\n');
        let capacity = block.lines.capacity();
        block.clear();
        assert_eq!(block.lines.capacity(), capacity);
        block.lines.extend_from_slice(b"a line\n");
        block.clear();
        assert!(block.lines.capacity() <= 2 * KEPT_CAPACITY);
    }
}
