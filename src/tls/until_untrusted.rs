//! Whether those that are connected may stay.
//!
//! A handshake looks at a certificate once, and a connection may stand for
//! months. So what the other end showed is looked at again whenever the own
//! files were read again, and when it expires.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::time::sleep;

use super::credentials::Credentials;
use super::files;
use super::handshake_error::HandshakeError;

/// Dates are looked at this often at least: timers know nothing of a clock that
/// is set, or of a machine that slept.
const LOOK: Duration = Duration::from_secs(60);

/// A certificate is valid through the last second that it names.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Resolves when somebody who got in with these certificates would get in no
/// more, and tells why.
pub async fn standing(
    credentials: Arc<Credentials>,
    chain: Vec<CertificateDer<'static>>,
) -> HandshakeError {
    let mut readings = credentials.readings();
    let until = until(&chain);
    loop {
        if let Err(refusal) = credentials.current().check_caller(&chain) {
            return refusal;
        }
        tokio::select! {
            () = readings.next() => {}
            () = sleep(next_look(until, SystemTime::now())) => {}
        }
    }
}

/// When the first of these certificates ceases to be valid.
pub fn until(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let ends = chain.iter().filter_map(files::validity);
    ends.map(|(_, end)| end + LAST_SECOND).min()
}

fn next_look(until: Option<SystemTime>, now: SystemTime) -> Duration {
    let left = until.and_then(|until| until.duration_since(now).ok());
    // What has expired and does not count, such as a CA's own that was sent
    // along, is no reason to hurry.
    left.map_or(LOOK, |left| (left + Duration::from_millis(1)).min(LOOK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_when_a_certificate_ends_and_now_and_then() {
        let now = SystemTime::now();
        let in_seconds = |seconds| next_look(Some(now + Duration::from_secs(seconds)), now);
        assert_eq!(in_seconds(5), Duration::from_millis(5001));
        assert_eq!(in_seconds(86_400), LOOK);
        assert_eq!(next_look(Some(now - LOOK), now), LOOK);
        assert_eq!(next_look(None, now), LOOK);
    }
}
