//! Why TLS was refused, in words that tell the cause.
//!
//! What the other end showed is told by our own checks; what it thought of us,
//! it tells by an alert (RFC 8446, section 6.2), which names a kind of trouble
//! and nothing else.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::format::list;

use super::handshake_error::{HandshakeError, HandshakeErrorKind};

/// Most names of a certificate that are repeated.
const MAX_NAMES: usize = 3;

/// Why TLS with the other end failed, if it is TLS that did; "it" is the other
/// end.
pub fn refusal(error: &io::Error) -> Option<HandshakeError> {
    let inner = error.get_ref()?;
    Some(refusal_of(inner.downcast_ref::<Error>()?))
}

/// The same, of the error itself.
pub(super) fn refusal_of(error: &Error) -> HandshakeError {
    match error {
        Error::NoCertificatesPresented => HandshakeError::new(
            HandshakeErrorKind::NoCertificate,
            "it showed no certificate",
        ),
        Error::InvalidCertificate(error) => {
            HandshakeError::new(reason_of(error), certificate("its certificate", error))
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => HandshakeError::new(
            HandshakeErrorKind::Plaintext,
            "it speaks plaintext, and this is for TLS",
        ),
        Error::AlertReceived(alert) => alert_words(*alert),
        Error::NoApplicationProtocol => HandshakeError::new(
            HandshakeErrorKind::Other,
            "it does not offer HTTP/2 (ALPN h2)",
        ),
        error => HandshakeError::new(HandshakeErrorKind::Other, format!("TLS failed: {error}")),
    }
}

fn reason_of(error: &CertificateError) -> HandshakeErrorKind {
    match error {
        CertificateError::UnknownIssuer => HandshakeErrorKind::ForeignCa,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => HandshakeErrorKind::Expired,
        _ => HandshakeErrorKind::Other,
    }
}

/// What is wrong with the own certificate; "it" is the file.
pub(super) fn own_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "it is from none of the CAs that the config names (ca)".to_owned()
        }
        error => certificate("it", error),
    }
}

fn certificate(whose: &str, error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            format!("{whose} is from a foreign CA, none that the config names (ca)")
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{whose} expired at {}", date(*not_after))
        }
        CertificateError::Expired => format!("{whose} has expired"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "{whose} is not valid before {}: is the clock right?",
                date(*not_before)
            )
        }
        CertificateError::NotValidYet => format!("{whose} is not valid yet"),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            format!("{whose} is for {}, not for {expected}", names(presented))
        }
        CertificateError::NotValidForName => format!("{whose} is for another name"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("{whose} may not be used for this (extended key usage)")
        }
        error => format!("{whose} is invalid: {error}"),
    }
}

/// Names as rustls gives them: `DnsName("riley.test.proxyherd")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.strip_prefix("DnsName(\"");
        let inner = inner.and_then(|inner| inner.strip_suffix("\")"));
        inner.unwrap_or(name).to_owned()
    };
    match presented {
        [] => "nobody".to_owned(),
        names => list(names.iter().take(MAX_NAMES).map(bare), "and"),
    }
}

fn date(time: UnixTime) -> String {
    moment(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

/// A time, for people: UTC, to the second.
pub fn moment(time: SystemTime) -> String {
    // Only years past 9999 can not be written so.
    let end = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    format_rfc3339_seconds(time.min(end)).to_string()
}

fn alert_words(alert: AlertDescription) -> HandshakeError {
    let refused = |words| HandshakeError::new(HandshakeErrorKind::OwnCertificate, words);
    let other = |words: &str| HandshakeError::new(HandshakeErrorKind::Other, words);
    match alert {
        AlertDescription::CertificateRequired => {
            refused("it wants a certificate, and was shown none")
        }
        AlertDescription::UnknownCA => {
            refused("it refused our certificate: the CA is foreign to it")
        }
        AlertDescription::CertificateExpired => {
            refused("it refused our certificate: expired, or not valid yet, by its clock")
        }
        AlertDescription::BadCertificate => {
            refused("it refused our certificate: not for the name that it expects")
        }
        AlertDescription::UnsupportedCertificate => {
            refused("it refused our certificate: not made for this use")
        }
        AlertDescription::CertificateUnknown => {
            refused("it refused our certificate, and does not say why")
        }
        AlertDescription::NoApplicationProtocol => other("it does not speak HTTP/2 here"),
        AlertDescription::ProtocolVersion => other("it speaks another version of TLS"),
        alert => other(&format!("it broke TLS off with the alert {alert:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_error_of_tls_is_left_to_others() {
        assert_eq!(refusal(&io::ErrorKind::ConnectionReset.into()), None);
        assert_eq!(refusal(&io::Error::other("words")), None);
    }

    #[test]
    fn a_date_beyond_all_calendars_does_no_harm() {
        let far = UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert_eq!(moment(far), "9999-12-31T23:59:59Z");
    }
}
