//! Causes of failed handshakes, from rustls' errors.
//!
//! The server's own checks report in detail what is wrong with the other end. The other end
//! reports what is wrong with the server by an alert (RFC 8446, section 6.2), which names a kind
//! of error and nothing else.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::UnixTime;
use rustls::{
    AlertDescription, CertificateError, Error, ExtendedKeyPurpose, InvalidMessage, OtherError,
};

use crate::format::list;

use super::files::SUPPORTED_KEYS;
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
        error => HandshakeError::new(HandshakeErrorKind::Other, describe_other("it", error)),
    }
}

/// Describes an error of rustls that is not about a certificate. `who` is the other end, or what
/// else it is about. The words of rustls are for programmers.
fn describe_other(who: &str, error: &Error) -> String {
    match error {
        Error::PeerIncompatible(_) => format!(
            "{who} has no version of TLS, cipher or kind of signature in common with this program"
        ),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord => format!("{who} sent what is not valid TLS"),
        Error::DecryptError => format!("{who} sent data that was changed on the way"),
        Error::HandshakeNotComplete => format!("{who} did not finish the TLS handshake"),
        Error::FailedToGetCurrentTime => "this machine has no time of day".to_owned(),
        Error::FailedToGetRandomBytes => "this machine has no random numbers".to_owned(),
        Error::UnsupportedNameType => format!("{who} has a name of an unsupported kind"),
        Error::General(message) => format!("TLS failed: {message}"),
        _ => "TLS failed inside of this program".to_owned(),
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

/// Describes why a certificate is not accepted. `certificate` names it, as in "its certificate".
/// Every message about a certificate has its words from here: those of rustls and webpki are for
/// programmers.
pub(super) fn describe(certificate: &str, error: &CertificateError) -> String {
    let because = |why: &str| format!("{certificate} {why}");
    match error {
        CertificateError::UnknownIssuer => {
            because("is from a CA that the config does not name (ca)")
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{certificate} expired at {}", date(*not_after))
        }
        CertificateError::Expired => because("has expired, or ends before it begins"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "{certificate} is not valid before {}: is the clock right?",
                date(*not_before)
            )
        }
        CertificateError::NotValidYet => because("is not valid yet: is the clock right?"),
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
        CertificateError::NotValidForName => because("is for another name"),
        CertificateError::InvalidPurposeContext { required, .. } => {
            let use_ = match required {
                ExtendedKeyPurpose::ClientAuth => "; it lacks clientAuth",
                ExtendedKeyPurpose::ServerAuth => "; it lacks serverAuth",
                ExtendedKeyPurpose::Other(_) => "",
            };
            because("may not be used for this (extended key usage)") + use_
        }
        CertificateError::InvalidPurpose => {
            because("may not be used for this (extended key usage)")
        }
        CertificateError::BadSignature => because(
            "is from another CA, with the same name as one that the config names (ca), or it was \
             changed",
        ),
        CertificateError::BadEncoding => because("is not valid X.509"),
        CertificateError::UnhandledCriticalExtension => because(UNKNOWN_EXTENSION),
        CertificateError::Revoked => because("was revoked"),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!(
                "{certificate}, or one in the path to its CA, has a key or a signature of a kind \
                 that is not supported, as SHA-1 is; for keys {SUPPORTED_KEYS}, and SHA-256 or \
                 longer for signatures"
            )
        }
        CertificateError::Other(OtherError(error)) => {
            because(match error.downcast_ref::<webpki::Error>() {
                Some(error) => describe_webpki(error),
                None => NOT_ACCEPTED,
            })
        }
        _ => because(NOT_ACCEPTED),
    }
}

/// The end of a sentence about a certificate with a critical extension that webpki does not know.
const UNKNOWN_EXTENSION: &str =
    "has an extension that must be understood (critical) and is not supported; make one without it";

/// The end of a sentence about a certificate that is not accepted for a reason without words.
const NOT_ACCEPTED: &str = "is not accepted; make a new one";

/// Describes an error of webpki for which rustls has none; completes a sentence about a
/// certificate.
fn describe_webpki(error: &webpki::Error) -> &'static str {
    use webpki::Error;
    match error {
        Error::CaUsedAsEndEntity => {
            "is a CA's certificate (basic constraints); a server or operator needs one of its own, \
             from that CA"
        }
        Error::EndEntityUsedAsCa => "is from a certificate that is not a CA's (basic constraints)",
        Error::EmptyEkuExtension => "may be used for nothing (extended key usage)",
        Error::UnsupportedCertVersion => {
            "is of an old version of X.509, without extensions; make one of version 3, with its \
             name as subject alternative name"
        }
        Error::UnsupportedCriticalExtension => UNKNOWN_EXTENSION,
        Error::InvalidSerialNumber => "has an invalid serial number; make a new one",
        Error::NameConstraintViolation => {
            "has a name that its CA must not certify (name constraints)"
        }
        Error::PathLenConstraintViolated => {
            "has more CAs in its path than one of them permits (path length)"
        }
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => {
            "has too many certificates, or too long a path to its CA"
        }
        Error::ExtensionValueInvalid
        | Error::MalformedExtensions
        | Error::MalformedDnsIdentifier
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint
        | Error::SignatureAlgorithmMismatch => "is not valid X.509",
        Error::CertDistrusted => "has a key that must not be trusted",
        _ => NOT_ACCEPTED,
    }
}

/// Describes a certificate of a CA that cannot be trusted.
pub(super) fn describe_authority(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => describe("a certificate in it", error),
        error => describe_other("a certificate in it", error),
    }
}

/// Describes what is wrong with the server's own certificate. In the message "it" is the file.
pub(super) fn describe_own(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => describe("it", error),
        error => describe_other("it", error),
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
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            other("it has no cipher or kind of signature in common with this program")
        }
        AlertDescription::AccessDenied => rejected("it denied access by TLS"),
        AlertDescription::DecryptError => {
            rejected("it rejected our certificate: its signature does not fit")
        }
        AlertDescription::UnrecognisedName => {
            other("it does not know the name by which we call it")
        }
        AlertDescription::InternalError => other("it failed inside, and ended TLS"),
        AlertDescription::UserCanceled | AlertDescription::CloseNotify => other("it ended TLS"),
        alert => other(&format!("it ended TLS with alert {}", u8::from(alert))),
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
    fn no_words_of_a_library_are_in_a_message() {
        use webpki::Error::*;
        let other = |error| CertificateError::Other(OtherError(std::sync::Arc::new(error)));
        let mut messages: Vec<String> = [
            other(CaUsedAsEndEntity),
            other(UnsupportedCertVersion),
            other(PathLenConstraintViolated),
            other(UnsupportedDeltaCrl),
            CertificateError::Other(OtherError(std::sync::Arc::new(io::Error::other("x")))),
            CertificateError::BadSignature,
            CertificateError::ApplicationVerificationFailure,
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![42, 134, 72],
                supported_algorithms: Vec::new(),
            },
            CertificateError::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ServerAuth,
                presented: vec![ExtendedKeyPurpose::Other(vec![1, 2, 3])],
            },
        ]
        .iter()
        .map(|error| describe("it", error))
        .collect();
        messages.extend(
            [
                Error::PeerIncompatible(rustls::PeerIncompatible::NoCipherSuitesInCommon),
                Error::PeerMisbehaved(rustls::PeerMisbehaved::TooManyEmptyFragments),
                Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge),
                Error::AlertReceived(AlertDescription::IllegalParameter),
                Error::EncryptError,
            ]
            .iter()
            .map(|error| from_rustls(error).message),
        );
        for message in messages {
            let is_plain = |word: &str| {
                let capitals = word.chars().skip(1).filter(char::is_ascii_uppercase);
                let is_name = ["clientAuth", "serverAuth", "CAs"].contains(&word);
                is_name || capitals.count() == 0 || word.chars().all(|c| !c.is_ascii_lowercase())
            };
            let mut words = message.split(|c: char| !c.is_ascii_alphanumeric());
            assert!(words.all(is_plain), "{message}");
            assert!(!message.contains(['{', '[', '"']), "{message}");
        }
    }

    #[test]
    fn a_time_after_the_year_9999_is_printed_as_its_end() {
        let far = UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert_eq!(format_time(far), "9999-12-31T23:59:59Z");
    }
}
