//! The operator's key to Google's API. It may appear in requests only.
//!
//! The key cannot be printed: it has no `Display`, `Debug` hides it, the header that carries it is
//! marked as sensitive, so that HTTP libraries do not print it, and it is redacted from texts that
//! others sent.

use std::env::VarError;
use std::fmt;

use reqwest::header::HeaderValue;

/// The replacement of a redacted key.
const REDACTED: &str = "(key)";

/// A key that is valid in a header and a URL.
///
/// Invariant: at least one character, all of them visible ASCII.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ApiKey(String);

/// The reason why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The environment variable is not set.
    Missing,
    /// The variable is set and empty.
    Empty,
    /// The value is not a key: a key is visible ASCII without white space.
    Unfit,
}

impl ApiKey {
    /// Parses the value of the environment variable. White space around the key is ignored.
    pub(super) fn from_environment(value: Result<String, VarError>) -> Result<Self, KeyError> {
        let value = value.map_err(|error| match error {
            VarError::NotPresent => KeyError::Missing,
            VarError::NotUnicode(_) => KeyError::Unfit,
        })?;
        match value.trim() {
            "" => Err(KeyError::Empty),
            key if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(ApiKey(key.to_owned())),
            _ => Err(KeyError::Unfit),
        }
    }

    /// Returns the value of a header.
    pub(super) fn header(&self) -> HeaderValue {
        let mut header = HeaderValue::from_str(&self.0).expect("visible ASCII is fit for a header");
        header.set_sensitive(true);
        header
    }

    /// Returns the value of a URL parameter.
    pub(super) fn parameter(&self) -> String {
        let escape = |byte: u8| match byte {
            b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        self.0.bytes().map(escape).collect()
    }

    /// Returns whether a text contains the key.
    pub(super) fn is_in(&self, text: &str) -> bool {
        text.contains(&self.0) || text.contains(&self.parameter())
    }

    /// Returns a text of another party with the key redacted.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, REDACTED)
            .replace(&self.parameter(), REDACTED)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key{REDACTED}")
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::Missing => "is not set",
            KeyError::Empty => "is empty",
            KeyError::Unfit => {
                "holds what can be no key (a key has no white space and only visible ASCII)"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ApiKey {
        ApiKey::from_environment(Ok(text.to_owned())).unwrap()
    }

    #[test]
    fn rejects_invalid_keys() {
        let read = |text: &str| ApiKey::from_environment(Ok(text.to_owned()));
        assert_eq!(read(" \n"), Err(KeyError::Empty));
        assert_eq!(read("two words"), Err(KeyError::Unfit));
        assert_eq!(read("schlüssel"), Err(KeyError::Unfit));
        assert_eq!(
            ApiKey::from_environment(Err(VarError::NotPresent)),
            Err(KeyError::Missing)
        );
        assert_eq!(read("AIza-x_9\r\n"), Ok(key("AIza-x_9")));
    }

    #[test]
    fn hides_the_key_in_debug_output() {
        let key = key("AIza-secret");
        assert_eq!(format!("{key:?}"), "Key(key)");
        assert_eq!(format!("{:?}", key.header()), "Sensitive");
        assert_eq!(key.header().as_bytes(), b"AIza-secret");
    }

    #[test]
    fn encodes_a_key_for_a_url() {
        assert_eq!(key("AIza-x_9.~").parameter(), "AIza-x_9.~");
        assert_eq!(key("a&b=c+/%#").parameter(), "a%26b%3Dc%2B%2F%25%23");
    }

    #[test]
    fn redacts_the_key() {
        let text = "no: k&y, twice k&y, and in a URL ?key=k%26y";
        assert_eq!(
            key("k&y").redact(text),
            "no: (key), twice (key), and in a URL ?key=(key)"
        );
    }
}
