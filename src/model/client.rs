//! The name that a client gives itself.

/// Longest client ID, in bytes.
pub const MAX_CLIENT_BYTES: usize = 255;

/// The white space of the line protocol: space, tab, LF, VT, FF and CR, and
/// nothing else (a no-break space is part of a field).
pub const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0D)
}

/// Is there white space anywhere? Looks at all bytes, some at a time, and so is
/// quicker with a few dozen than what stops at the first.
fn has_white_space(bytes: &[u8]) -> bool {
    let or = |found, &byte| found | is_white_space(byte);
    bytes.iter().fold(false, or)
}

/// A client's ID: 1 to [`MAX_CLIENT_BYTES`] bytes of UTF-8 without white
/// space. Anything else about it is the client's own affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId<'a>(&'a str);

impl<'a> ClientId<'a> {
    /// Reads an ID, or gives `None` where the rule above is broken.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let id = Self::of_field(std::str::from_utf8(bytes).ok()?)?;
        (!has_white_space(bytes)).then_some(id)
    }

    /// As [`parse`](Self::parse), of a field of a line: there is no white space
    /// in one.
    pub(crate) fn of_field(text: &'a str) -> Option<Self> {
        (1..=MAX_CLIENT_BYTES)
            .contains(&text.len())
            .then_some(Self(text))
    }

    /// An ID that was read before.
    pub(crate) fn restore(text: &'a str) -> Self {
        Self(text)
    }

    /// The ID as the client wrote it.
    pub fn text(self) -> &'a str {
        self.0
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
}
