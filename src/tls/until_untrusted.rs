//! The end of the trust in an open connection.
//!
//! A handshake checks a certificate once, and a connection may stay open for months. Therefore the
//! certificates of the other end are checked again when they expire, and whenever this server's own
//! files are reloaded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::time::sleep;

use super::credentials::Credentials;
use super::files;
use super::handshake_error::HandshakeError;
use super::trust::PeerRole;

/// Maximum interval between checks. Timers do not follow a clock that is set, or a machine that
/// slept.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// A certificate is valid through the last second that it names.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Resolves when the other end would no longer be accepted with these certificates, its own first,
/// with the cause.
///
/// It may have presented more of them than the path to its CA needs, and any of those may expire
/// without effect.
pub async fn until_untrusted(
    credentials: Arc<Credentials>,
    chain: Vec<CertificateDer<'static>>,
    role: PeerRole,
) -> HandshakeError {
    let mut reloads = credentials.reload_events();
    let ends = chain.iter().filter_map(files::validity);
    let ends: Vec<SystemTime> = ends.map(|(_, end)| end + LAST_SECOND).collect();
    loop {
        if let Err(error) = credentials.current().check_peer(&chain, &role) {
            return error;
        }
        tokio::select! {
            () = reloads.next() => {}
            () = sleep(next_check(&ends, SystemTime::now())) => {}
        }
    }
}

/// Returns the time until the next of these ends of validity.
fn next_check(ends: &[SystemTime], now: SystemTime) -> Duration {
    let left = ends.iter().filter_map(|end| end.duration_since(now).ok());
    // A check at the very end may still find the certificate valid.
    let left = left.min().map(|left| left + Duration::from_millis(1));
    left.map_or(MAX_CHECK_INTERVAL, |left| left.min(MAX_CHECK_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_check_is_when_the_next_certificate_expires_and_at_least_once_a_minute() {
        let now = SystemTime::now();
        let seconds = Duration::from_secs;
        let (soon, late) = (now + seconds(5), now + seconds(86_400));
        let expired = now - seconds(5);
        for (ends, expected) in [
            (&[soon][..], Duration::from_millis(5001)),
            (&[late, soon], Duration::from_millis(5001)),
            (&[expired, late, soon], Duration::from_millis(5001)),
            (&[late, expired], MAX_CHECK_INTERVAL),
            (&[expired], MAX_CHECK_INTERVAL),
            (&[], MAX_CHECK_INTERVAL),
        ] {
            assert_eq!(next_check(ends, now), expected, "{ends:?}");
        }
    }
}
