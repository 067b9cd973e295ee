//! TLS: identities, and the certificates that are trusted.
//!
//! A herd has a CA of its own. Its certificates name a server as `NAME.HERD.proxyherd` and an
//! operator as `OPERATOR.operator.HERD.proxyherd`. A server that dials another checks that name
//! and not the name of the host, so servers may move. The server that is called takes the identity
//! of the caller from the certificate.
//!
//! | file | contents |
//! |---|---|
//! | `subject` | names in certificates |
//! | `pem` | the sections of a PEM file |
//! | `files` | certificates and keys in PEM files |
//! | `credentials` | a certificate and the CAs, loaded from those files and kept current |
//! | `trust` | which certificates of others are trusted |
//! | `watch` | reloads changed files, and warns before certificates expire |
//! | `expiry` | certificates that others reject because of their dates |
//! | `until_untrusted` | the end of the trust in an open connection |
//! | `errors` | causes of failed handshakes and rejected certificates, from rustls' errors |
//! | `handshake_error` | kinds of failed handshakes, counted |
//! | `inspect` | state of a certificate in a file |
//! | [`issue`] | makes certificates, for a first try or a small herd |
//!
//! Promises:
//!
//! - A handshake verifies chain and dates against the CAs of the file `ca` and nothing else, in
//!   TLS 1.3. No session is resumed, so each connection presents its certificate anew.
//! - Files are parsed as a whole before they are used; invalid ones change nothing. Every section
//!   that a PEM file begins is read, or the file is rejected.
//! - A connection ends at either side when the certificates by which it began no longer lead to a
//!   trusted CA, since one in that path has expired or the CA is no longer trusted. Certificates
//!   that were sent along and are in no path have no effect.
//! - Nothing of a key is printed: not in errors, not in logs, not by `Debug`.
//!
//! Revocation lists are not supported. The certificates of a herd are short-lived, and its CA can
//! be replaced.

mod credentials;
mod errors;
mod expiry;
mod files;
mod handshake_error;
mod inspect;
pub mod issue;
mod pem;
mod subject;
mod trust;
mod until_untrusted;
mod watch;

pub use credentials::{Credentials, DialledHost, ReloadEvents};
pub use errors::{format_time, handshake_error};
pub use files::{FileError, Files, Pair};
pub use handshake_error::{HandshakeError, HandshakeErrorCounters, HandshakeErrorKind};
pub use inspect::{CertificateSummary, authority_expiry, inspect};
pub use subject::{PeerIdentity, Subject, quote_name};
pub use trust::{PeerRole, server_name};
pub use until_untrusted::until_untrusted;
pub use watch::keep_current;
