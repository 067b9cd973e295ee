//! Causes of failed handshakes, from rustls' errors.
//!
//! The server's own checks report in detail what is wrong with the other end. The other end
//! reports what is wrong with the server by an alert (RFC 8446, section 6.2), which names a kind
//! of error and nothing else.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::format::list;

use super::handshake_error::{HandshakeError, HandshakeErrorKind};

/// Maximum number of names of a certificate in a message.
const MAX_NAMES: usize = 3;

/// Returns the cause if TLS failed, and `None` for any other error. In its message "it" is the
/// other end.
pub fn handshake_error(error: &io::Error) -> Option<HandshakeError> {
    let inner = error.get_ref()?;
    Some(from_rustls(inner.downcast_ref::<Error>()?))
}

/// Returns the cause of an error of rustls.
pub(super) fn from_rustls(error: &Error) -> HandshakeError {
    match error {
        Error::NoCertificatesPresented => HandshakeError::new(
            HandshakeErrorKind::NoCertificate,
            "it presented no certificate",
        ),
        Error::InvalidCertificate(error) => {
            HandshakeError::new(kind_of(error), describe("its certificate", error))
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => HandshakeError::new(
            HandshakeErrorKind::Plaintext,
            "it speaks plaintext, and this is for TLS",
        ),
        Error::AlertReceived(alert) => from_alert(*alert),
        Error::NoApplicationProtocol => HandshakeError::new(
            HandshakeErrorKind::Other,
            "it does not offer HTTP/2 (ALPN h2)",
        ),
        error => HandshakeError::new(HandshakeErrorKind::Other, format!("TLS failed: {error}")),
    }
}

fn kind_of(error: &CertificateError) -> HandshakeErrorKind {
    match error {
        CertificateError::UnknownIssuer => HandshakeErrorKind::ForeignCa,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => HandshakeErrorKind::Expired,
        _ => HandshakeErrorKind::Other,
    }
}

/// Describes what is wrong with the server's own certificate. In the message "it" is the file.
pub(super) fn own_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "it is from a CA that the config does not name (ca)".to_owned()
        }
        error => describe("it", error),
    }
}

fn describe(certificate: &str, error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            format!("{certificate} is from a CA that the config does not name (ca)")
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{certificate} expired at {}", date(*not_after))
        }
        CertificateError::Expired => format!("{certificate} has expired"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "{certificate} is not valid before {}: is the clock right?",
                date(*not_before)
            )
        }
        CertificateError::NotValidYet => format!("{certificate} is not valid yet"),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            format!(
                "{certificate} is for {}, not for {expected}",
                names(presented)
            )
        }
        CertificateError::NotValidForName => format!("{certificate} is for another name"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("{certificate} may not be used for this (extended key usage)")
        }
        error => format!("{certificate} is invalid: {error}"),
    }
}

/// Formats names that rustls prints as `DnsName("riley.test.proxyherd")` and
/// `IpAddress(127.0.0.1)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let between = |start, end| name.strip_prefix(start)?.strip_suffix(end);
        let inner = between("DnsName(\"", "\")").or_else(|| between("IpAddress(", ")"));
        inner.unwrap_or(name).to_owned()
    };
    match presented {
        [] => "no name".to_owned(),
        names => list(names.iter().take(MAX_NAMES).map(bare), "and"),
    }
}

fn date(time: UnixTime) -> String {
    format_time(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

/// Formats a time for people: UTC, to the second.
pub fn format_time(time: SystemTime) -> String {
    // The format ends with the year 9999.
    let end = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    format_rfc3339_seconds(time.min(end)).to_string()
}

fn from_alert(alert: AlertDescription) -> HandshakeError {
    let rejected = |message| HandshakeError::new(HandshakeErrorKind::OwnCertificate, message);
    let other = |message: &str| HandshakeError::new(HandshakeErrorKind::Other, message);
    match alert {
        AlertDescription::CertificateRequired => {
            rejected("it requires a certificate, and none was presented")
        }
        AlertDescription::UnknownCA => {
            rejected("it rejected our certificate: it does not trust the CA")
        }
        AlertDescription::CertificateExpired => {
            rejected("it rejected our certificate: expired, or not valid yet, by its clock")
        }
        AlertDescription::BadCertificate => {
            rejected("it rejected our certificate: not for the name that it expects")
        }
        AlertDescription::UnsupportedCertificate => {
            rejected("it rejected our certificate: not made for this use")
        }
        AlertDescription::CertificateUnknown => {
            rejected("it rejected our certificate, without a reason")
        }
        AlertDescription::NoApplicationProtocol => other("it does not speak HTTP/2 here"),
        AlertDescription::ProtocolVersion => other("it speaks another version of TLS"),
        alert => other(&format!("it ended TLS with the alert {alert:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_not_of_tls_is_no_handshake_error() {
        assert_eq!(
            handshake_error(&io::ErrorKind::ConnectionReset.into()),
            None
        );
        assert_eq!(handshake_error(&io::Error::other("other")), None);
    }

    #[test]
    fn a_time_after_the_year_9999_is_printed_as_its_end() {
        let far = UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert_eq!(format_time(far), "9999-12-31T23:59:59Z");
    }
}
