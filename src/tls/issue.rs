//! Makes certificates, for a first try or a small herd.
//!
//! An organization with a CA of its own uses that; it needs only the names that [`Subject`]
//! describes.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};

use super::files::{self, FileError, Pair};
use super::subject::Subject;
use crate::model::name::Name;
use crate::random;

/// Time by which validity begins before a certificate is made, since the clocks of others may be
/// late.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

/// The cause for which no certificate was made. Holds nothing of a key.
#[derive(Debug)]
pub struct IssueError(String);

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IssueError {}

impl From<FileError> for IssueError {
    fn from(error: FileError) -> Self {
        Self(error.to_string())
    }
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

/// Generates a private key (ECDSA on P-256), in PEM.
///
/// # Errors
///
/// If the system's random source fails.
pub fn generate_key() -> Result<String, IssueError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// The validity of a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Its beginning.
    pub from: SystemTime,
    /// Its end.
    pub until: SystemTime,
}

impl Validity {
    /// Creates a validity of so many days from now. It begins an hour early, since the clocks of
    /// others may be late.
    pub fn days(days: u32) -> Self {
        let now = SystemTime::now();
        Self {
            from: now - CLOCK_TOLERANCE,
            until: now + Duration::from_secs(u64::from(days) * 86_400),
        }
    }

    fn set(self, params: &mut CertificateParams) {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        params.not_before = date_time_ymd(1970, 1, 1) + since(self.from);
        params.not_after = date_time_ymd(1970, 1, 1) + since(self.until);
    }
}

/// A CA with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a CA for a herd with the key in a file. Returns its certificate, in PEM.
    ///
    /// # Errors
    ///
    /// If the key is invalid.
    pub fn make(herd: &Name, key: &Path, validity: Validity) -> Result<String, IssueError> {
        let mut params = CertificateParams::default();
        validity.set(&mut params);
        params.serial_number = Some(random_serial());
        // The number distinguishes an old and a new CA of one herd.
        let name = format!("proxyherd {herd} {:x}", random::u64());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params.self_signed(&load_key(key)?)?.pem())
    }

    /// Loads a CA from the files of its certificate (the first, if there are several) and its key.
    ///
    /// # Errors
    ///
    /// If one of them is invalid, or the key is not the certificate's.
    pub fn load(files: &Pair) -> Result<Self, IssueError> {
        let certificates = files::authorities(&files.certificate)?;
        let key = load_key(&files.key)?;
        let certificate = &certificates[0];
        if files::public_key(certificate).as_deref() != Some(key.public_key_raw()) {
            return Err(IssueError(format!(
                "{}: it is not the key of the first CA in {}",
                files.key.display(),
                files.certificate.display()
            )));
        }
        let issuer = Issuer::from_ca_cert_der(certificate, key)?;
        Ok(Self { issuer })
    }

    /// Makes a certificate, in PEM, for the holder of the key in a file. A server's may also name
    /// `hosts`, DNS names or IP addresses, for clients that check those.
    ///
    /// # Errors
    ///
    /// If the key or a host is invalid.
    pub fn issue(
        &self,
        subject: &Subject,
        hosts: &[String],
        key: &Path,
        validity: Validity,
    ) -> Result<String, IssueError> {
        let mut names = vec![subject.to_string()];
        names.extend_from_slice(hosts);
        let mut params = CertificateParams::new(names)?;
        validity.set(&mut params);
        params.serial_number = Some(random_serial());
        let common_name = subject.name().as_str();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !subject.is_operator() {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = load_key(key)?;
        Ok(params.signed_by(&key, &self.issuer)?.pem())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// Reads the private key of a file.
fn load_key(path: &Path) -> Result<KeyPair, IssueError> {
    let key = files::key(path)?;
    KeyPair::try_from(&key).map_err(|_| {
        IssueError(format!(
            "{}: this private key is damaged, or of a kind that cannot sign here; {}",
            path.display(),
            files::SUPPORTED_KEYS
        ))
    })
}

/// Returns a random serial number. It must be unique in its CA (RFC 5280, section 4.1.2.2), and
/// unpredictable.
fn random_serial() -> SerialNumber {
    let mut bytes = [random::u64(), random::u64()]
        .map(u64::to_be_bytes)
        .concat();
    // It must be positive.
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}
