//! The limit on open files.

use tracing::warn;

/// Raises the limit on open files to the maximum that the system permits, since the
/// default is low. Returns the share of each of `servers` servers of this process, or
/// `None` if the limit is unknown.
pub(super) fn share_of_each(servers: usize) -> Option<usize> {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => Some(usize::try_from(files).unwrap_or(usize::MAX) / servers.max(1)),
        Err(error) => {
            warn!("cannot raise the limit on open files: {error}");
            None
        }
    }
}
