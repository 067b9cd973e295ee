//! The name that a client gives itself.

use super::text::Utf8Bytes;

/// Longest client ID, in bytes.
pub const MAX_CLIENT_BYTES: usize = 255;

/// The white space of the line protocol: space, tab, LF, VT, FF and CR, and
/// nothing else (a no-break space is part of a field).
pub const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0D)
}

/// How many bytes there are before the first white space. Looks at eight at a
/// time: to look at each would be most of what it takes to read a line.
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

/// The highest bit of each byte that [is white space](is_white_space), and no
/// other bit.
fn white_space_in(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    // The other seven bits of a byte and a number below 0x80 make less than 0x100,
    // and reach the highest bit from some value on.
    let low = word & each(0x7F);
    let from_tab = low + each(0x80 - b'\t');
    let past_cr = low + each(0x7F - b'\r');
    let is_no_space = (low ^ each(b' ')) + each(0x7F);
    ((from_tab & !past_cr) | !is_no_space) & !word & each(0x80)
}

/// A client's ID: 1 to [`MAX_CLIENT_BYTES`] bytes of UTF-8 without white
/// space. Anything else about it is the client's own affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId<'a>(Utf8Bytes<'a>);

impl<'a> ClientId<'a> {
    /// Reads an ID, or gives `None` where the rule above is broken.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::of_field(bytes).filter(|_| until_white_space(bytes) == bytes.len())
    }

    /// As [`parse`](Self::parse), of a field of a line: there is no white space
    /// in one.
    pub(crate) fn of_field(bytes: &'a [u8]) -> Option<Self> {
        let fits = (1..=MAX_CLIENT_BYTES).contains(&bytes.len());
        Utf8Bytes::parse(bytes).filter(|_| fits).map(Self)
    }

    /// An ID that was read before.
    pub(crate) fn restore(bytes: &'a [u8]) -> Self {
        Self(Utf8Bytes::restore(bytes))
    }

    /// The ID as the client wrote it.
    pub fn text(self) -> &'a str {
        self.0.as_str()
    }

    /// The same as bytes, for no more than a copy.
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
    fn white_space_is_found_wherever_it_stands() {
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
