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

/// Maximum interval between checks. Timers do not follow a clock that is set, or a machine that
/// slept.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// A certificate is valid through the last second that it names.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Resolves when a caller with these certificates would no longer be accepted, with the cause.
pub async fn until_untrusted(
    credentials: Arc<Credentials>,
    chain: Vec<CertificateDer<'static>>,
) -> HandshakeError {
    let mut reloads = credentials.reload_events();
    let valid_until = valid_until(&chain);
    loop {
        if let Err(error) = credentials.current().check_caller(&chain) {
            return error;
        }
        tokio::select! {
            () = reloads.next() => {}
            () = sleep(next_check(valid_until, SystemTime::now())) => {}
        }
    }
}

/// Returns the time at which the first of these certificates expires.
pub fn valid_until(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let ends = chain.iter().filter_map(files::validity);
    ends.map(|(_, end)| end + LAST_SECOND).min()
}

fn next_check(valid_until: Option<SystemTime>, now: SystemTime) -> Duration {
    let left = valid_until.and_then(|until| until.duration_since(now).ok());
    // A certificate that has expired without effect, such as one of the CA that was sent along,
    // needs no early check.
    left.map_or(MAX_CHECK_INTERVAL, |left| {
        (left + Duration::from_millis(1)).min(MAX_CHECK_INTERVAL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_check_is_when_a_certificate_expires_and_at_least_once_a_minute() {
        let now = SystemTime::now();
        let in_seconds = |seconds| next_check(Some(now + Duration::from_secs(seconds)), now);
        assert_eq!(in_seconds(5), Duration::from_millis(5001));
        assert_eq!(in_seconds(86_400), MAX_CHECK_INTERVAL);
        assert_eq!(
            next_check(Some(now - MAX_CHECK_INTERVAL), now),
            MAX_CHECK_INTERVAL
        );
        assert_eq!(next_check(None, now), MAX_CHECK_INTERVAL);
    }
}
