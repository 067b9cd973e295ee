//! TLS: who is who, and whom to trust.
//!
//! A herd has a CA of its own. Its certificates name a server as
//! `NAME.HERD.proxyherd` and an operator as `OPERATOR.operator.HERD.proxyherd`.
//! Who dials a server checks that name, and not that of the host, so servers may
//! move; who is called knows from the certificate who calls.
//!
//! | file | holds |
//! |---|---|
//! | `subject` | the names in certificates |
//! | `files` | certificates and keys in PEM files |
//! | `credentials` | what those files make of a server |
//! | `watch` | reads them again when they change, tells when they expire |
//! | `until_untrusted` | whether those that are connected may stay |
//! | `errors` | why a handshake failed |
//! | `handshake_error` | the kinds of such failures, counted |
//! | `inspect` | what a certificate in a file says |
//! | [`issue`] | makes certificates, for a first try-out or a small herd |
//!
//! Promises:
//!
//! - A handshake verifies chain and dates against the CAs of the file `ca` and
//!   nothing else, in TLS 1.3. No session is resumed, so each connection shows
//!   its certificate anew.
//! - Files are parsed whole before they are used; broken ones change nothing.
//! - A connection ends when the certificate by which it began has expired, or its
//!   CA is no longer trusted.
//! - Nothing of a key is printed: not in errors, not in logs, not by `Debug`.
//!
//! What this folder does not do: revocation lists. A herd's certificates live
//! short, and its CA can be replaced.

mod credentials;
mod errors;
mod files;
mod handshake_error;
mod inspect;
pub mod issue;
mod subject;
mod until_untrusted;
mod watch;

pub use credentials::{Credentials, ReloadEvents, server_name};
pub use errors::{moment, refusal};
pub use files::{FileError, Files, Pair};
pub use handshake_error::{HandshakeError, HandshakeErrorCounters, HandshakeErrorKind};
pub use inspect::{CertificateSummary, inspect};
pub use subject::{PeerIdentity, Subject, repeat};
pub use until_untrusted::{standing, until};
pub use watch::keep_current;
