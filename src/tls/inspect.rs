//! The state of a certificate in a file.

use std::path::Path;
use std::time::SystemTime;

use super::credentials;
use super::files::{self, FileError, Files};
use super::subject::Subject;

/// The state of a certificate.
#[derive(Clone, Debug)]
pub struct CertificateSummary {
    /// The beginning of its validity.
    pub from: SystemTime,
    /// The end of its validity.
    pub until: SystemTime,
    /// Why the herd or its clients would not accept it whatever the time, if they would not;
    /// completes a sentence about it.
    pub fault: Option<String>,
}

/// Returns the end of the validity of the first CA of a file.
///
/// # Errors
///
/// If the file is invalid.
pub fn authority_expiry(path: &Path) -> Result<SystemTime, FileError> {
    let authorities = files::authorities(path)?;
    let until = authorities.first().and_then(files::validity);
    let unreadable = || FileError::new(path, "it is not valid X.509");
    until.map(|(_, until)| until).ok_or_else(unreadable)
}

/// Reads a certificate with its key, and judges it as the herd would: as that of `member`, from
/// the first CA of the file `ca`, for clients that dial `hosts`.
///
/// # Errors
///
/// If one of the files is invalid by itself.
pub fn inspect(
    files: &Files,
    member: &Subject,
    hosts: &[String],
) -> Result<CertificateSummary, FileError> {
    let (own, fault) = credentials::judge(files, member, hosts)?;
    let unreadable = || FileError::new(&files.own.certificate, "it is not valid X.509");
    let (from, until) = files::validity(&own).ok_or_else(unreadable)?;
    Ok(CertificateSummary { from, until, fault })
}
