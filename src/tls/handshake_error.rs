//! Kinds of failed handshakes, counted.

use std::fmt;

use crate::metrics::Counter;

/// The kind of a failed handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeErrorKind {
    /// The other end presented no certificate.
    NoCertificate,
    /// Its certificate is from a CA that is not trusted.
    ForeignCa,
    /// Its certificate has expired, or is not valid yet.
    Expired,
    /// It spoke plaintext at a port for TLS.
    Plaintext,
    /// It rejected this server's certificate.
    OwnCertificate,
    /// Any other cause: no common version of TLS, a handshake that broke or took too long, TLS at a
    /// port for plaintext.
    Other,
}

impl HandshakeErrorKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::NoCertificate,
        Self::ForeignCa,
        Self::Expired,
        Self::Plaintext,
        Self::OwnCertificate,
        Self::Other,
    ];
}

/// A failed handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeError {
    /// Its kind.
    pub kind: HandshakeErrorKind,
    /// Its cause, for people; "it" is the other end.
    pub message: String,
}

impl HandshakeError {
    /// Creates an error with this message.
    pub fn new(kind: HandshakeErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Numbers of failed handshakes at one port, by kind.
#[derive(Debug, Default)]
pub struct HandshakeErrorCounters([Counter; HandshakeErrorKind::ALL.len()]);

impl HandshakeErrorCounters {
    /// Returns the counter of a kind.
    pub fn of(&self, kind: HandshakeErrorKind) -> &Counter {
        &self.0[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_counter() {
        let counters = HandshakeErrorCounters::default();
        for (count, kind) in (1..).zip(HandshakeErrorKind::ALL) {
            counters.of(kind).add(count);
        }
        let counts = HandshakeErrorKind::ALL.map(|kind| counters.of(kind).get());
        assert_eq!(counts, [1, 2, 3, 4, 5, 6]);
    }
}
