//! The token that the API requires, and the addresses that sent wrong ones.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::lock::lock;
use crate::model::networks::Network;

/// Minimum length of a token: 16 random characters cannot be guessed.
const MIN_BYTES: usize = 16;

/// Maximum length of a token.
const MAX_BYTES: usize = 1024;

/// Number of wrong tokens that an address may send within [`WINDOW`].
const MAX_FAILURES: u32 = 10;

/// Time for which wrong tokens count.
const WINDOW: Duration = Duration::from_secs(60);

/// Maximum number of addresses with wrong tokens. Beyond it all of them are forgotten.
const MAX_ADDRESSES: usize = 4096;

/// A token of the API.
#[derive(Clone)]
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
    pub(super) fn is(&self, text: &str) -> bool {
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

/// The addresses that sent wrong tokens. An IPv6 address counts as its /64.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<Network, Window>>);

/// Wrong tokens of one address.
#[derive(Clone, Copy, Debug)]
struct Window {
    ends: Instant,
    failures: u32,
}

impl Failures {
    /// Returns the time for which an address must wait, if it sent too many wrong tokens.
    pub(super) fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let failures = lock(&self.0);
        let window = failures.get(&Network::of_customer(from))?;
        let is_limited = window.failures >= MAX_FAILURES && window.ends > now;
        is_limited.then(|| window.ends - now)
    }

    /// Counts a wrong token.
    pub(super) fn add(&self, from: IpAddr, now: Instant) {
        let mut failures = lock(&self.0);
        if failures.len() >= MAX_ADDRESSES {
            failures.retain(|_, window| window.ends > now);
        }
        if failures.len() >= MAX_ADDRESSES {
            failures.clear();
        }
        let fresh = Window {
            ends: now + WINDOW,
            failures: 0,
        };
        let window = failures.entry(Network::of_customer(from)).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        window.failures += 1;
    }
}

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

    #[test]
    fn an_address_with_too_many_wrong_tokens_waits_and_others_do_not() {
        let (failures, start) = (Failures::default(), Instant::now());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        for _ in 0..MAX_FAILURES {
            assert_eq!(failures.wait(one, start), None);
            failures.add(one, start);
        }
        assert_eq!(failures.wait(one, start), Some(WINDOW));
        assert_eq!(failures.wait(other, start), None);
        assert_eq!(failures.wait(one, start + WINDOW), None);
        failures.add(one, start + WINDOW);
        assert_eq!(failures.wait(one, start + WINDOW), None);
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let (failures, now) = (Failures::default(), Instant::now());
        for n in 0..3 * MAX_ADDRESSES as u32 {
            failures.add(std::net::Ipv4Addr::from(n).into(), now);
        }
        assert!(lock(&failures.0).len() <= MAX_ADDRESSES);
    }
}
