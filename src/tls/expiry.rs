//! Certificates that others reject because of their dates, now or soon.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use humantime::format_duration;

use super::errors::format_time;

/// Remaining validity below which a certificate is reported.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// The validity of a certificate in a file.
#[derive(Clone, Debug)]
pub(super) struct CertificateExpiry {
    pub(super) path: PathBuf,
    /// Its beginning.
    pub(super) from: SystemTime,
    /// Its end.
    pub(super) at: SystemTime,
}

/// What is to be reported about the dates of a certificate.
pub(super) enum ExpiryState {
    /// Others reject it now.
    Rejected(String),
    /// Others reject it soon.
    Soon(String),
}

impl ExpiryState {
    /// Returns the message for people.
    pub(super) fn into_message(self) -> String {
        match self {
            Self::Rejected(message) | Self::Soon(message) => message,
        }
    }
}

impl CertificateExpiry {
    /// Returns what is to be reported at this time, if anything.
    pub(super) fn state(&self, now: SystemTime) -> Option<ExpiryState> {
        let path = self.path.display();
        if now < self.from {
            return Some(ExpiryState::Rejected(format!(
                "{path}: this certificate is not valid before {}, and others reject it; set the \
                 clock, or wait",
                format_time(self.from)
            )));
        }
        match self.at.duration_since(now) {
            Err(_) => Some(ExpiryState::Rejected(format!(
                "{path}: this certificate expired at {}, and others reject it; renew it",
                format_time(self.at)
            ))),
            Ok(left) if left < EXPIRES_SOON => Some(ExpiryState::Soon(format!(
                "{path}: this certificate expires at {}, in {}; renew it",
                format_time(self.at),
                format_duration(Duration::from_secs(left.as_secs()))
            ))),
            Ok(_) => None,
        }
    }
}
