//! Text that is known to be UTF-8, at the cost of bytes.

use std::fmt;

/// Bytes that were validated as UTF-8 on receipt and are copied as bytes from then on. A report
/// passes through a server's store and to each neighbour; validating it again at every step costs
/// more than merging it.
///
/// Compares byte by byte, as `str` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Utf8Bytes<'a>(&'a [u8]);

impl<'a> Utf8Bytes<'a> {
    /// Validates bytes; returns `None` if they are not UTF-8.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        // Most texts are ASCII, which is checked faster.
        let is_text = bytes.is_ascii() || std::str::from_utf8(bytes).is_ok();
        is_text.then_some(Self(bytes))
    }

    /// Creates a text from bytes that were validated before, or are ASCII by the rules of their
    /// parser.
    pub(super) fn restore(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the text as `str`. Validates all of it.
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
