//! Why connections are refused, in kinds that are counted.

use std::fmt;

use crate::metrics::Counter;

/// A kind of trouble with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeErrorKind {
    /// It showed no certificate where one is due.
    NoCertificate,
    /// Its certificate is of none of the CAs that count.
    ForeignCa,
    /// Its certificate has expired, or is not valid yet.
    Expired,
    /// It spoke plaintext to a port for TLS.
    Plaintext,
    /// It would not have the certificate that it was shown.
    OwnCertificate,
    /// Anything else: no TLS that goes together, a handshake that broke off or
    /// took too long, TLS on a port that has none.
    Other,
}

impl HandshakeErrorKind {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::NoCertificate,
        Self::ForeignCa,
        Self::Expired,
        Self::Plaintext,
        Self::OwnCertificate,
        Self::Other,
    ];
}

/// Why one connection was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeError {
    /// The kind of trouble.
    pub reason: HandshakeErrorKind,
    /// What it is, for people.
    pub words: String,
}

impl HandshakeError {
    /// A refusal in these words.
    pub fn new(reason: HandshakeErrorKind, words: impl Into<String>) -> Self {
        let words = words.into();
        Self { reason, words }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// How often connections to one port were refused.
#[derive(Debug, Default)]
pub struct HandshakeErrorCounters([Counter; HandshakeErrorKind::ALL.len()]);

impl HandshakeErrorCounters {
    /// How often for this reason.
    pub fn of(&self, reason: HandshakeErrorKind) -> &Counter {
        &self.0[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let refused = HandshakeErrorCounters::default();
        for (count, reason) in (1..).zip(HandshakeErrorKind::ALL) {
            refused.of(reason).add(count);
        }
        let counts = HandshakeErrorKind::ALL.map(|reason| refused.of(reason).get());
        assert_eq!(counts, [1, 2, 3, 4, 5, 6]);
    }
}
