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

/// Largest file that is read, in bytes: a bundle of hundreds of certificates.
const MAX_BYTES: u64 = 1 << 20;

/// A certificate, with those of the CAs between it and its root behind it, and
/// its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The PEM file of the certificate.
    pub certificate: PathBuf,
    /// The PEM file of the key: PKCS#8, SEC1 or PKCS#1, not encrypted.
    pub key: PathBuf,
}

/// What somebody of a herd needs for TLS with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The PEM file of the herd's CA; of several, while one takes over from
    /// another.
    pub ca: PathBuf,
    /// Their own certificate and key.
    pub own: Pair,
}

/// What is wrong with a file. Holds nothing of a key.
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

/// All certificates of a file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| FileError::new(path, no_pem(&error)))?;
    match found.is_empty() {
        true => Err(FileError::new(
            path,
            "there is no certificate in it: it must be PEM, with -----BEGIN CERTIFICATE-----",
        )),
        false => Ok(found),
    }
}

/// The private key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| {
        let cause = match error {
            pem::Error::NoItemsFound => {
                "there is no private key in it that can be used: it must be PEM, and not encrypted"
                    .to_owned()
            }
            error => no_pem(&error),
        };
        FileError::new(path, cause)
    })
}

/// The error may repeat what stands in the file, which may be a key: its kind is
/// all that is told.
fn no_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it ends in the middle of a PEM section",
        pem::Error::Base64Decode(_) => "its PEM is broken: there is no base64 where it should be",
        _ => "it is no PEM",
    }
    .to_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| FileError::new(path, unreadable(&error)))?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(FileError::new(
            path,
            format!("it has more than {MAX_BYTES} bytes; is it the right file?"),
        )),
        false => Ok(bytes),
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such file; `proxyherd certs` makes certificates for a first try-out"
                .to_owned()
        }
        _ => format!("it can not be read: {error}"),
    }
}

/// A warning where others than its owner may read a key.
pub(super) fn exposed_key(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "{}: this private key may be read or changed by others than its owner (mode {mode:03o}): chmod 600 it",
            path.display()
        )
    })
}

/// When a certificate begins and ceases to be valid.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    Some((
        time(validity.not_before.timestamp()),
        time(validity.not_after.timestamp()),
    ))
}

/// The public key of a certificate, without what says of which kind it is.
pub(super) fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}

/// Is `ca` named as the issuer of `certificate`?
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

/// What tells whether a file is another than it was. Not its time of change
/// alone: files are replaced by older ones, and within a tick of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([i64; 6]);

impl Stamp {
    /// The stamp of each file; `None` for one that can not be looked at.
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
