//! The token that the API of the web port requires.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Minimum length of a token: 16 random characters cannot be guessed.
const MIN_BYTES: usize = 16;

/// Maximum length of a token.
const MAX_BYTES: usize = 1024;

/// A token of the API.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The reason why a file has no usable token. Its message names the file.
#[derive(Debug)]
pub struct TokenError {
    path: PathBuf,
    cause: TokenErrorCause,
}

#[derive(Debug)]
enum TokenErrorCause {
    Unreadable(io::Error),
    Invalid,
}

impl Token {
    /// Reads the token of a file, without the white space around it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its content is not 16 to 1024 visible ASCII characters.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let error = |cause| TokenError {
            path: path.to_owned(),
            cause,
        };
        let mut text = Vec::new();
        // One more than the longest, with room for white space, shows that a file is too long.
        File::open(path)
            .and_then(|file| file.take(2 * MAX_BYTES as u64).read_to_end(&mut text))
            .map_err(|cause| error(TokenErrorCause::Unreadable(cause)))?;
        let text = String::from_utf8(text).unwrap_or_default();
        let text = text.trim();
        let is_valid = (MIN_BYTES..=MAX_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(error(TokenErrorCause::Invalid))
        }
    }

    /// Compares in a time that does not depend on where the texts differ.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            TokenErrorCause::Unreadable(error) => write!(
                f,
                "cannot read the token file {path}: {error}; correct token_file under [web]"
            ),
            TokenErrorCause::Invalid => write!(
                f,
                "the token file {path} must hold {MIN_BYTES} to {MAX_BYTES} visible ASCII \
                 characters and nothing else; write one with `openssl rand -hex 32`"
            ),
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_visible_ascii_of_16_characters_or_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            Token::read(&path)
        };
        let token = read(b" 0123456789abcdef\n").unwrap();
        assert!(token.is("0123456789abcdef"));
        assert!(!token.is("0123456789abcdeg") && !token.is("") && !token.is("0123456789abcdef0"));
        assert_eq!(format!("{token:?}"), "Token(...)");
        for bad in [
            &b""[..],
            b"0123456789abcde",
            b"0123456789 abcdef",
            b"\xff0123456789abcdef",
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("16 to 1024 visible"), "{error}");
        }
        assert!(read(&[b'x'; 1024]).is_ok() && read(&[b'x'; 1025]).is_err());
        std::fs::remove_file(&path).unwrap();
        let error = Token::read(&path).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the token file "), "{error}");
    }
}
