//! Client IDs, and the white space that separates the fields of a line.

use super::text::Utf8Bytes;

/// Maximum length of a client ID, in bytes.
pub const MAX_CLIENT_BYTES: usize = 255;

/// Returns whether a byte is white space of the line protocol: space, tab, LF, VT, FF and CR, and
/// nothing else. A no-break space is part of a field.
pub const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0D)
}

/// Returns the number of bytes before the first white space. It reads eight bytes at a time; one at
/// a time would be most of the time of parsing a line.
pub(crate) fn until_white_space(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    for (&word, start) in words.iter().zip((0..).step_by(8)) {
        let found = white_space_in(u64::from_le_bytes(word));
        if found != 0 {
            return start + found.trailing_zeros() as usize / 8;
        }
    }
    let found = rest.iter().position(|&byte| is_white_space(byte));
    bytes.len() - rest.len() + found.unwrap_or(rest.len())
}

/// Returns a word with the highest bit of each byte that [is white space](is_white_space), and no
/// other bit.
fn white_space_in(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    // The lower seven bits of a byte plus a number below 0x80 make less than 0x100, and the sum
    // reaches the highest bit from a certain value on.
    let low = word & each(0x7F);
    let from_tab = low + each(0x80 - b'\t');
    let past_cr = low + each(0x7F - b'\r');
    let is_no_space = (low ^ each(b' ')) + each(0x7F);
    ((from_tab & !past_cr) | !is_no_space) & !word & each(0x80)
}

/// A client's ID: 1 to [`MAX_CLIENT_BYTES`] bytes of UTF-8 without white space. The client chooses
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId<'a>(Utf8Bytes<'a>);

impl<'a> ClientId<'a> {
    /// Parses an ID; returns `None` if it breaks the rule above.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::of_field(bytes).filter(|_| until_white_space(bytes) == bytes.len())
    }

    /// Parses an ID as [`parse`](Self::parse) does, from a field of a line, which has no white
    /// space.
    pub(crate) fn of_field(bytes: &'a [u8]) -> Option<Self> {
        let fits = (1..=MAX_CLIENT_BYTES).contains(&bytes.len());
        Utf8Bytes::parse(bytes).filter(|_| fits).map(Self)
    }

    /// Creates an ID from bytes that were parsed before.
    pub(crate) fn restore(bytes: &'a [u8]) -> Self {
        Self(Utf8Bytes::restore(bytes))
    }

    /// Returns the ID as the client wrote it. Validates the bytes again; [`bytes`](Self::bytes)
    /// does not.
    pub fn text(self) -> &'a str {
        self.0.as_str()
    }

    /// Returns the ID as bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_utf8_without_white_space() {
        for good in ["k", "kiwi.cs.ucla.edu", "клиент", "a\u{a0}b", "\0", "AT"] {
            assert!(ClientId::parse(good.as_bytes()).is_some(), "{good:?}");
        }
        for bad in [&b""[..], b"a b", b"a\tb", b"a\x0bb", b"\xff", b"\xc3"] {
            assert!(ClientId::parse(bad).is_none(), "{bad:?}");
        }
        assert!(ClientId::parse(&[b'x'; 255]).is_some());
        assert!(ClientId::parse(&[b'x'; 256]).is_none());
    }

    #[test]
    fn white_space_is_found_at_any_offset() {
        for (byte, length) in
            (0..=u8::MAX).flat_map(|byte| (0..20).map(move |length| (byte, length)))
        {
            for at in 0..length {
                for other in [b'x', 0x00, 0x08, 0x0E, 0x1F, b'!', 0x80, 0x89, 0xA0, 0xFF] {
                    let mut bytes = vec![other; length];
                    bytes[at] = byte;
                    let first = bytes.iter().position(|&byte| is_white_space(byte));
                    assert_eq!(
                        until_white_space(&bytes),
                        first.unwrap_or(length),
                        "{bytes:?}"
                    );
                }
            }
        }
        assert_eq!(until_white_space(b"12\t45 "), 2);
    }
}
