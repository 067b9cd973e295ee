//! Names of herds and servers.

use std::fmt;
use std::sync::Arc;

/// Maximum length of a name, in bytes: that of a DNS label (RFC 1035, section 2.3.4), since a
/// server's name becomes one in its certificate.
pub const MAX_NAME_BYTES: usize = 63;

/// Returns whether a name is well-formed: ASCII letters, digits and inner hyphens, 1 to
/// [`MAX_NAME_BYTES`] bytes. The origin of a neighbour's report is checked by this alone, since a
/// herd's membership changes over time.
pub fn is_name(bytes: &[u8]) -> bool {
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.len() <= MAX_NAME_BYTES
        && *first != b'-'
        && *last != b'-'
        && bytes
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The name of a herd or of a server. Two names are equal if their bytes are. The config also
/// rejects names of one herd that differ only in case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Parses a well-formed name (see [`is_name`]); returns `None` otherwise.
    pub fn parse(text: &str) -> Option<Self> {
        is_name(text.as_bytes()).then(|| Self(text.into()))
    }

    /// Returns the name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["Riley", "a", "7", "edge-1-fra", &"x".repeat(63)] {
            assert!(Name::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a.b", "a_b", "Zoë", &"x".repeat(64)] {
            assert!(Name::parse(bad).is_none(), "{bad}");
        }
    }
}
