//! The limit on open files.

use tracing::warn;

/// Raises the limit on open files to the maximum that the system permits, since the
/// default is low. Returns it, or `None` if it is unknown.
pub(super) fn raise_limit() -> Option<usize> {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => Some(usize::try_from(files).unwrap_or(usize::MAX)),
        Err(error) => {
            warn!("cannot raise the limit on open files: {error}");
            None
        }
    }
}
