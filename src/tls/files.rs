//! Certificates and keys in PEM files.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Maximum size of a file, in bytes: a bundle of hundreds of certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The files of a certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The PEM file of the certificate, followed by those of the CAs between it and its root.
    pub certificate: PathBuf,
    /// The PEM file of the key: PKCS#8, SEC1 or PKCS#1, not encrypted.
    pub key: PathBuf,
}

/// The files that a member of a herd needs for TLS with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The PEM file of the herd's CA, or of several while one replaces another.
    pub ca: PathBuf,
    /// The member's own certificate and key.
    pub own: Pair,
}

/// An unusable file. Holds nothing of a key.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    cause: String,
}

impl FileError {
    pub(super) fn new(path: &Path, cause: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            cause: cause.into(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.cause)
    }
}

impl std::error::Error for FileError {}

/// Reads all certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| FileError::new(path, describe_pem_error(&error)))?;
    if found.is_empty() {
        return Err(FileError::new(
            path,
            "it holds no certificate; it must be PEM, with -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(found)
}

/// Reads the private key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| {
        let cause = match error {
            pem::Error::NoItemsFound => {
                "it holds no usable private key; it must be PEM, and not encrypted".to_owned()
            }
            error => describe_pem_error(&error),
        };
        FileError::new(path, cause)
    })
}

/// Describes an error by its kind alone, since the error may repeat a part of a key.
fn describe_pem_error(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it ends in the middle of a PEM section",
        pem::Error::Base64Decode(_) => "its PEM holds invalid base64",
        _ => "it is not PEM",
    }
    .to_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| FileError::new(path, unreadable(&error)))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let cause = format!("it has more than {MAX_FILE_BYTES} bytes; is it the right file?");
        return Err(FileError::new(path, cause));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such file; `proxyherd certs` makes certificates for a first try".to_owned()
        }
        _ => format!("it cannot be read: {error}"),
    }
}

/// Returns a warning if others than its owner may read or change a key.
pub(super) fn exposed_key(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "{}: others than its owner may read or change this private key (mode {mode:03o}); run \
             chmod 600",
            path.display()
        )
    })
}

/// Returns the beginning and the end of a certificate's validity.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    Some((
        time(validity.not_before.timestamp()),
        time(validity.not_after.timestamp()),
    ))
}

/// Returns the public key of a certificate, without its algorithm.
pub(super) fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}

/// Returns true if `certificate` names `ca` as its issuer.
pub(super) fn is_issuer(ca: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    let (ca, certificate) = (
        X509Certificate::from_der(ca),
        X509Certificate::from_der(certificate),
    );
    match (&ca, &certificate) {
        (Ok((_, ca)), Ok((_, certificate))) => {
            ca.subject().as_raw() == certificate.issuer().as_raw()
        }
        _ => false,
    }
}

/// The metadata by which a changed file is recognized. The modification time alone is not enough:
/// files are replaced by older ones, and within one tick of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp([i64; 6]);

impl FileStamp {
    /// Returns the stamp of each file, `None` if it has no readable metadata.
    pub(super) fn all(paths: &[PathBuf]) -> Vec<Option<Self>> {
        let stamp = |path: &PathBuf| fs::metadata(path).ok().map(|found| Self::of(&found));
        paths.iter().map(stamp).collect()
    }

    fn of(found: &fs::Metadata) -> Self {
        Self([
            found.ino().cast_signed(),
            found.len().cast_signed(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ])
    }
}
