//! The summary of a certificate in a file.

use std::path::Path;
use std::time::SystemTime;

use super::files::{self, FileError};
use super::subject::PeerIdentity;

/// The summary of a certificate.
#[derive(Clone, Debug)]
pub struct CertificateSummary {
    /// The identity of its holder.
    pub holder: PeerIdentity,
    /// The beginning of its validity.
    pub from: SystemTime,
    /// The end of its validity.
    pub until: SystemTime,
}

/// Reads the first certificate of a file. Also returns true if it names the first certificate of
/// the file `ca` as its issuer.
///
/// # Errors
///
/// If one of the files is invalid.
pub fn inspect(path: &Path, ca: &Path) -> Result<(CertificateSummary, bool), FileError> {
    let (chain, authorities) = (files::certificates(path)?, files::certificates(ca)?);
    let unreadable = || FileError::new(path, "its certificate is not X.509");
    let own = chain.first().ok_or_else(unreadable)?;
    let (from, until) = files::validity(own).ok_or_else(unreadable)?;
    let holder = PeerIdentity::of(own);
    let is_of_ca = authorities
        .first()
        .is_some_and(|ca| files::is_issuer(ca, own));
    let found = CertificateSummary {
        holder,
        from,
        until,
    };
    Ok((found, is_of_ca))
}
