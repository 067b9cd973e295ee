//! Utf8Bytes that is known to be UTF-8, at the price of bytes.

use std::fmt;

/// Bytes that were found to be UTF-8 when they came in, and are copied about as
/// bytes from there on: a report goes through a server's store and out to each
/// neighbour, and to make sure again at every step costs more than to merge it.
///
/// Compares byte by byte, as `str` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Utf8Bytes<'a>(&'a [u8]);

impl<'a> Utf8Bytes<'a> {
    /// Takes what is UTF-8, or gives `None`.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        // Most are ASCII, which is found more quickly.
        let is_text = bytes.is_ascii() || std::str::from_utf8(bytes).is_ok();
        is_text.then_some(Self(bytes))
    }

    /// What was read before, or is ASCII by what its reader looked for.
    pub(super) fn restore(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Looks at all of it. For whoever needs more than a copy.
    pub(super) fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).expect("what was read as text is UTF-8")
    }
}

impl<'a> From<&'a str> for Utf8Bytes<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl fmt::Debug for Utf8Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.0).fmt(f)
    }
}
