//! What a certificate in a file says.

use std::path::Path;
use std::time::SystemTime;

use super::files::{self, FileError};
use super::subject::PeerIdentity;

/// What is to be known of a certificate.
#[derive(Clone, Debug)]
pub struct CertificateSummary {
    /// Whom it is for.
    pub holder: PeerIdentity,
    /// From when on it is valid.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

/// Reads the first certificate of a file. The other thing given is whether it
/// names as its issuer the first of the file `ca`.
pub fn inspect(path: &Path, ca: &Path) -> Result<(CertificateSummary, bool), FileError> {
    let (chain, authorities) = (files::certificates(path)?, files::certificates(ca)?);
    let unreadable = || FileError::new(path, "its certificate is no X.509");
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
