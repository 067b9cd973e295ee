//! A buffer that splits a stream of bytes into lines.

use memchr::memchr;

/// Minimum capacity for one read, in bytes; also what an idle connection keeps.
const MIN_READ_BYTES: usize = 2 * 1024;

/// Maximum capacity for one read, in bytes.
const MAX_READ_BYTES: usize = 32 * 1024;

/// A received line without its end (LF, or CR LF).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientLine<'a> {
    /// A complete line.
    Whole(&'a [u8]),
    /// The first bytes of a line that is longer than the limit, up to the limit. The rest is
    /// dropped as it arrives.
    TooLong(&'a [u8]),
}

impl<'a> ClientLine<'a> {
    /// Returns the bytes that were kept.
    pub fn bytes(self) -> &'a [u8] {
        let (Self::Whole(bytes) | Self::TooLong(bytes)) = self;
        bytes
    }
}

/// Received bytes that are not consumed yet.
///
/// Memory: at most 32 KiB and one line, and 4 KiB after [`shrink`](Self::shrink).
#[derive(Debug)]
pub struct LineBuffer {
    buffer: Vec<u8>,
    position: ScanPosition,
    limit: usize,
    /// Capacity for the next read, in bytes. It grows while reads fill it.
    read_bytes: usize,
}

/// The progress of splitting the buffer into lines.
///
/// Invariants: `start <= scanned <= buffer.len()`; there is no LF between `start` and `scanned`;
/// while `skipping`, the buffer's bytes belong to a line that was already returned as too long.
#[derive(Debug, Default)]
struct ScanPosition {
    start: usize,
    scanned: usize,
    skipping: bool,
}

impl LineBuffer {
    /// Creates an empty buffer for lines of at most `limit` bytes, line ends not counted.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            position: ScanPosition::default(),
            limit,
            read_bytes: MIN_READ_BYTES,
        }
    }

    /// Returns the buffer to which the next received bytes must be appended; nothing else may be
    /// done with it. It has capacity for at least 2 KiB more, and for more after reads that filled
    /// it.
    pub fn read_buffer(&mut self) -> &mut Vec<u8> {
        let capacity = self.buffer.capacity();
        if capacity > 0 && self.buffer.len() == capacity {
            self.read_bytes = (self.read_bytes * 2).min(MAX_READ_BYTES);
        }
        self.drop_consumed();
        self.buffer.reserve_exact(self.read_bytes);
        &mut self.buffer
    }

    /// Returns whether the buffer is empty: it has not even part of a line.
    pub fn is_empty(&self) -> bool {
        self.position.start == self.buffer.len()
    }

    /// Returns the bytes that are not consumed.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.position.start..]
    }

    /// Returns an iterator over the complete lines. A line is consumed when the iterator returns
    /// it; the others stay. With `at_end`, the bytes after the last LF are a line too, with its CR
    /// if it has one.
    pub fn take(&mut self, at_end: bool) -> impl Iterator<Item = ClientLine<'_>> {
        let Self {
            buffer,
            position,
            limit,
            ..
        } = self;
        let buffer = &*buffer;
        std::iter::from_fn(move || match position.next(buffer, *limit) {
            None if at_end => position.last(buffer, *limit),
            line => line,
        })
    }

    /// Releases the memory that an idle connection does not need. To be called when no more bytes
    /// can be read for now.
    pub fn shrink(&mut self) {
        if self.buffer.len() < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(MIN_READ_BYTES);
        }
        self.drop_consumed();
        // Twice the minimum: the buffer has grown if a partial line was left over.
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * MIN_READ_BYTES {
            self.buffer = Vec::new();
        }
    }

    fn drop_consumed(&mut self) {
        self.buffer.drain(..self.position.start);
        self.position.scanned -= self.position.start;
        self.position.start = 0;
    }
}

impl ScanPosition {
    fn next<'a>(&mut self, buffer: &'a [u8], limit: usize) -> Option<ClientLine<'a>> {
        loop {
            let Some(ahead) = memchr(b'\n', &buffer[self.scanned..]) else {
                return self.without_end(buffer, limit);
            };
            let (start, end) = (self.start, self.scanned + ahead);
            self.consume(end + 1);
            if !std::mem::take(&mut self.skipping) {
                let line = &buffer[start..end];
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                return Some(cut(line, limit));
            }
        }
    }

    fn last<'a>(&mut self, buffer: &'a [u8], limit: usize) -> Option<ClientLine<'a>> {
        let rest = &buffer[self.start..];
        self.consume(buffer.len());
        let fresh = !std::mem::take(&mut self.skipping) && !rest.is_empty();
        fresh.then(|| cut(rest, limit))
    }

    /// Handles a buffer without LF: the line is too long already, or incomplete. A CR at the end of
    /// the buffer may still belong to the line end.
    fn without_end<'a>(&mut self, buffer: &'a [u8], limit: usize) -> Option<ClientLine<'a>> {
        let line = &buffer[self.start..];
        let counted = line.strip_suffix(b"\r").unwrap_or(line).len();
        let too_long = !self.skipping && counted > limit;
        self.skipping |= too_long;
        if self.skipping {
            self.consume(buffer.len());
        } else {
            self.scanned = buffer.len();
        }
        too_long.then(|| ClientLine::TooLong(&line[..limit]))
    }

    fn consume(&mut self, end: usize) {
        self.start = end;
        self.scanned = end;
    }
}

fn cut(line: &[u8], limit: usize) -> ClientLine<'_> {
    match line.get(..limit) {
        Some(prefix) if line.len() > limit => ClientLine::TooLong(prefix),
        _ => ClientLine::Whole(line),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `pieces` one after another. Returns `=` and a complete line, or `!` and the start of
    /// one that is too long.
    fn lines_of<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
        let mut lines = LineBuffer::new(limit);
        let mut seen = Vec::new();
        for piece in pieces {
            lines.read_buffer().extend_from_slice(piece);
            seen.extend(lines.take(false).map(mark));
            assert!(lines.buffer.len() - lines.position.start <= limit + 1);
        }
        seen.extend(lines.take(true).map(mark));
        seen
    }

    fn mark(line: ClientLine<'_>) -> Vec<u8> {
        match line {
            ClientLine::Whole(line) => [b"=", line].concat(),
            ClientLine::TooLong(prefix) => [b"!", prefix].concat(),
        }
    }

    #[test]
    fn line_ends_are_lf_and_cr_lf() {
        let seen = lines_of(9, [&b"a\nb\r\n\n\r\n\rc\r\r\nd\re\nlast\r"[..]]);
        let want: [&[u8]; 7] = [b"=a", b"=b", b"=", b"=", b"=\rc\r", b"=d\re", b"=last\r"];
        assert_eq!(seen, want);
    }

    #[test]
    fn the_limit_counts_neither_lf_nor_cr_lf() {
        assert_eq!(
            lines_of(4, [&b"abcd\r\nabcd\nabcde\nok\n"[..]]),
            [&b"=abcd"[..], b"=abcd", b"!abcd", b"=ok"]
        );
        assert_eq!(
            lines_of(4, [&b"abcd\r"[..], b"\nabcd\r", b"\r\nok"]),
            [&b"=abcd"[..], b"!abcd", b"=ok"]
        );
        assert_eq!(lines_of(4, [&b"abcd\r"[..]]), [b"!abcd"]);
        assert_eq!(lines_of(4, [&b"abcdef"[..], b"ghi", b"jkl"]), [b"!abcd"]);
    }

    #[test]
    fn lines_that_are_not_taken_stay() {
        let mut lines = LineBuffer::new(9);
        lines.read_buffer().extend_from_slice(b"a\nb\r\n\nhalf");
        assert_eq!(lines.take(false).next(), Some(ClientLine::Whole(b"a")));
        lines.read_buffer().extend_from_slice(b" a line\nc");
        let rest: Vec<_> = lines.take(true).map(mark).collect();
        assert_eq!(rest, [&b"=b"[..], b"=", b"!half a li", b"=c"]);
        assert!(lines.is_empty());
    }

    #[test]
    fn an_endless_line_uses_bounded_memory() {
        let mut lines = LineBuffer::new(4096);
        for _ in 0..1000 {
            lines.read_buffer().extend_from_slice(&[b'x'; 1000]);
            lines.take(false).for_each(drop);
        }
        lines.shrink();
        assert!(lines.buffer.capacity() <= MIN_READ_BYTES);
    }

    proptest! {
        /// The lines do not depend on the segments in which the bytes arrive.
        #[test]
        fn lines_do_not_depend_on_segments(
            bytes in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..8),
            limit in 1usize..6,
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(lines_of(limit, pieces), lines_of(limit, [&bytes[..]]));
        }
    }
}
