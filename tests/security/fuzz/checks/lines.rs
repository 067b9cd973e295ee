//! Splitting of bytes into lines: independent of segments, and the same as a plain splitter.

use proxyherd::line_protocol::lines::{ClientLine, LineBuffer};

/// The maximum number of bytes that a connection holds, its current line excluded.
const READ_BUFFER: usize = 36 * 1024;

/// Splits `bytes` with several limits, each with several segmentations.
pub(crate) fn check(bytes: &[u8]) {
    // All combinations take long for a large input.
    let limits = if bytes.len() < 500 {
        &[1, 4, 17][..]
    } else {
        &[4096]
    };
    for &limit in limits {
        let expected = reference(bytes, limit);
        assert_eq!(split(bytes, limit, |rest| rest), expected, "in one piece");
        assert_eq!(split(bytes, limit, |_| 1), expected, "byte by byte");
        // Segments depend only on the input, so that a failure is reproducible.
        let mut state = bytes.iter().fold(limit as u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let random = |rest: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            1 + (state >> 33) as usize % rest.min(12)
        };
        assert_eq!(split(bytes, limit, random), expected, "in random pieces");
    }
}

/// A whole line, or the start of one that exceeds the limit.
type Seen = (bool, Vec<u8>);

fn split(mut bytes: &[u8], limit: usize, mut next: impl FnMut(usize) -> usize) -> Vec<Seen> {
    let mut lines = LineBuffer::new(limit);
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let room = lines.read_buffer();
        assert!(
            room.capacity() <= READ_BUFFER + limit,
            "{}",
            room.capacity()
        );
        let length = next(bytes.len()).min(room.capacity() - room.len());
        let (piece, rest) = bytes.split_at(length);
        room.extend_from_slice(piece);
        bytes = rest;
        seen.extend(lines.take(false).map(note));
        if length.is_multiple_of(3) {
            lines.shrink();
        }
    }
    seen.extend(lines.take(true).map(note));
    assert!(lines.is_empty(), "the last line is the last");
    seen
}

fn note(line: ClientLine<'_>) -> Seen {
    match line {
        ClientLine::Whole(line) => (true, line.to_vec()),
        ClientLine::TooLong(start) => (false, start.to_vec()),
    }
}

fn reference(bytes: &[u8], limit: usize) -> Vec<Seen> {
    let mut pieces: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let last = pieces.pop().unwrap();
    let ended = pieces
        .iter()
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let last = Some(last).filter(|last| !last.is_empty());
    let cut = |line: &[u8]| (line.len() <= limit, line[..line.len().min(limit)].to_vec());
    ended.chain(last).map(cut).collect()
}
