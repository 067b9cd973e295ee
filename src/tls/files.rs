//! Certificates and keys in PEM files.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::pem::{self, PemFault, Section};

/// Maximum size of a file, in bytes: a bundle of hundreds of certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Maximum number of faults of a file in a message.
const MAX_SHOWN_FAULTS: usize = 10;

/// Maximum length of a name of X.509 in a message, in characters.
const MAX_NAME_CHARS: usize = 100;

/// The private keys that can be used, for people.
pub(super) const SUPPORTED_KEYS: &str =
    "use ECDSA on P-256 or P-384, Ed25519, or RSA with 2048 to 8192 bits";

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
    /// The faults with their lines, where they have one; at least one.
    faults: Vec<(Option<usize>, String)>,
}

impl FileError {
    pub(super) fn new(path: &Path, cause: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            faults: vec![(None, cause.into())],
        }
    }

    /// Creates an error of all faults, in the order of their lines.
    fn of_text(path: &Path, mut faults: Vec<PemFault>) -> Self {
        faults.sort_by_key(|fault| fault.line);
        let faults = faults.into_iter();
        Self {
            path: path.to_owned(),
            faults: faults
                .map(|fault| (Some(fault.line), fault.message))
                .collect(),
        }
    }

    /// Returns whether it is about this file.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        self.path == path
    }

    /// Returns the first cause, without path and line.
    pub(super) fn cause(&self) -> &str {
        self.faults.first().map_or("", |(_, cause)| cause)
    }
}

/// Prints a line for each fault, at most [`MAX_SHOWN_FAULTS`]; the rest are counted.
impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (i, (line, cause)) in self.faults.iter().take(MAX_SHOWN_FAULTS).enumerate() {
            f.write_str(if i == 0 { "" } else { "\n" })?;
            match line {
                Some(line) => write!(f, "{path}, line {line}: {cause}")?,
                None => write!(f, "{path}: {cause}")?,
            }
        }
        match self.faults.len().saturating_sub(MAX_SHOWN_FAULTS) {
            0 => Ok(()),
            more => write!(f, "\n{path}: and {more} more"),
        }
    }
}

impl std::error::Error for FileError {}

/// Reads all certificates of a file, at least one. Private keys and parameters beside them are
/// passed over.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates_of(path, |_| None)
}

/// Reads the certificates of CAs from a file, at least one.
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates_of(path, |certificate| {
        // Certificates of version 1 do not say whether they are a CA's.
        let may_issue = certificate.version() != X509Version::V3 || certificate.is_ca();
        (!may_issue).then(|| {
            "this certificate is not a CA's (basic constraints), and must not vouch for others; \
             remove it, or name the file of the CA"
                .to_owned()
        })
    })
}

/// Reads all certificates of a file; `fault` returns what is wrong with one that is valid X.509.
fn certificates_of(
    path: &Path,
    fault: impl Fn(&X509Certificate<'_>) -> Option<String>,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(path)?;
    let (sections, mut faults) = pem::sections(&text);
    let (mut found, mut has_key) = (Vec::new(), false);
    for section in sections {
        let line = section.line;
        let mut reject = |message: String| faults.push(PemFault { line, message });
        match section.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => match section.content {
                Err(fault) => faults.push(fault),
                Ok(content) => match X509Certificate::from_der(&content) {
                    Ok(([], certificate)) => match fault(&certificate) {
                        Some(message) => reject(message),
                        None => found.push(CertificateDer::from(content)),
                    },
                    _ => reject("this is not an X.509 certificate; copy it anew".to_owned()),
                },
            },
            label if is_passed_over(label) => has_key |= label.ends_with("PRIVATE KEY"),
            label => reject(unread(label, path)),
        }
    }
    if !faults.is_empty() {
        return Err(FileError::of_text(path, faults));
    }
    if found.is_empty() {
        let cause = match pem::other_format(&text) {
            Some(other) => other.into_owned(),
            None if has_key => "it holds a private key and no certificate".to_owned(),
            None => "it holds no certificate; it must be PEM, with -----BEGIN CERTIFICATE-----"
                .to_owned(),
        };
        return Err(FileError::new(path, cause));
    }
    Ok(found)
}

/// Returns a warning if a file holds sections that other programs pass over.
pub(super) fn loose_sections(path: &Path) -> Option<String> {
    let (sections, _) = pem::sections(&read(path).ok()?);
    let first = sections.iter().find(|section| section.is_inside_a_line)?;
    Some(format!(
        "{}, line {}: {} is not at the start of the line, but after spaces, other text or an \
         invisible byte order mark; it is read here, and other programs pass over it: put it at \
         the start of a line of its own",
        path.display(),
        first.line,
        "-----BEGIN"
    ))
}

/// Returns whether sections of this kind beside certificates have no effect on them.
fn is_passed_over(label: &str) -> bool {
    ["PRIVATE KEY", "PUBLIC KEY", "PARAMETERS"]
        .into_iter()
        .any(|end| label.ends_with(end))
}

/// Describes a section that is not read.
fn unread(label: &str, path: &Path) -> String {
    let path = path.display();
    let remedy = match label {
        "TRUSTED CERTIFICATE" => {
            format!("its trust settings would have no effect; run openssl x509 -in {path} -out NEW")
        }
        "PKCS7" | "CMS" => format!("run openssl pkcs7 -print_certs -in {path} -out NEW"),
        "X509 CRL" => "revocation lists are not supported; remove it".to_owned(),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            "a CA has to make a certificate of it; remove it".to_owned()
        }
        _ => "remove it, or convert it to CERTIFICATE".to_owned(),
    };
    format!("a section of the kind {label}, which is not read: {remedy}")
}

/// Reads the private key of a file. Certificates and parameters beside it are passed over.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let text = read(path)?;
    let (sections, mut faults) = pem::sections(&text);
    let (mut key, mut has_certificate) = (None, false);
    for section in sections {
        let line = section.line;
        let mut reject = |message: String| faults.push(PemFault { line, message });
        has_certificate |= section.label.ends_with("CERTIFICATE");
        if !section.label.ends_with("PRIVATE KEY") {
            continue;
        }
        if let Some(message) = unusable_key(&section, path) {
            reject(message);
        } else if key.is_some() {
            reject("a second private key; keep the one of the certificate".to_owned());
        } else {
            match section.content {
                Ok(content) => key = key_of_kind(&section.label, content),
                Err(fault) => faults.push(fault),
            }
        }
    }
    if !faults.is_empty() {
        return Err(FileError::of_text(path, faults));
    }
    key.ok_or_else(|| {
        let cause = match pem::other_format(&text) {
            Some(other) => other.into_owned(),
            None if has_certificate => "it holds a certificate and no private key".to_owned(),
            None => {
                "it holds no private key; it must be PEM, with the BEGIN line of one".to_owned()
            }
        };
        FileError::new(path, cause)
    })
}

fn key_of_kind(label: &str, content: Vec<u8>) -> Option<PrivateKeyDer<'static>> {
    match label {
        "PRIVATE KEY" => Some(PrivatePkcs8KeyDer::from(content).into()),
        "RSA PRIVATE KEY" => Some(PrivatePkcs1KeyDer::from(content).into()),
        "EC PRIVATE KEY" => Some(PrivateSec1KeyDer::from(content).into()),
        _ => None,
    }
}

/// Describes a private key that cannot be used, whatever it holds.
fn unusable_key(section: &Section, path: &Path) -> Option<String> {
    let path = path.display();
    match section.label.as_str() {
        label if section.is_encrypted || label == "ENCRYPTED PRIVATE KEY" => Some(format!(
            "this private key is encrypted, and a server cannot ask for its passphrase; decrypt it \
             with openssl pkey -in {path} -out NEW"
        )),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => None,
        "OPENSSH PRIVATE KEY" => Some(format!(
            "this is a private key for SSH; if it is the right one, convert it with ssh-keygen -p \
             -m PKCS8 -f {path}"
        )),
        label => Some(format!(
            "a private key of the kind {}, which is not supported; {SUPPORTED_KEYS}",
            label.trim_end_matches(" PRIVATE KEY")
        )),
    }
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

/// Returns a warning if everyone on the machine may read a key, or more than its owner may change
/// it. Its group may read it: a key is often of root and a group of the servers that use it.
pub(super) fn exposed_key(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    let (who, remedy) = match (mode & 0o006 != 0, mode & 0o020 != 0) {
        (false, false) => return None,
        (true, false) => ("every user of this machine may read or change", "o="),
        (false, true) => ("the group of the file may change", "g-w"),
        (true, true) => ("every user of this machine may read or change", "g-w,o="),
    };
    let path = path.display();
    Some(format!(
        "{path}: {who} this private key (mode {mode:03o}); run chmod {remedy} {path}"
    ))
}

/// Returns the public key of a certificate with its algorithm, in DER.
pub(super) fn public_key_info(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// Returns the name of a certificate's issuer, shortened, without control characters.
pub(super) fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.issuer().to_string();
    let is_plain = |c: &char| !c.is_control();
    Some(name.chars().filter(is_plain).take(MAX_NAME_CHARS).collect())
}

/// Returns why clients that check it would not accept a certificate as a server's.
pub(super) fn unfit_for_servers(certificate: &CertificateDer<'_>) -> Option<&'static str> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    if certificate.is_ca() {
        return Some("it is a CA's certificate, and not a server's");
    }
    let usage = certificate.extended_key_usage().ok()??.value;
    let is_fit = usage.any || usage.server_auth;
    (!is_fit).then_some("it is not made for servers (extended key usage)")
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
