//! The limit on open files, and the share of clients in it.
//!
//! Each connection takes a file. Without this share, thousands of clients would take
//! the files that links to neighbours need too, and a link that went down could not come
//! up again.

/// Files that each server keeps from clients: the maximum of connections to its peer
/// port, and its links, its log and its listeners.
const RESERVED_FILES_PER_SERVER: u64 = 1024 + 128;

/// Raises the limit on open files to the maximum that the system permits, since the
/// default is low. Returns the new limit.
pub(super) fn raise_limit() -> std::io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// Returns the maximum number of clients of each of `servers` servers in a process with a
/// limit of `files`: the files that are not reserved, and at least half of all.
pub(super) fn max_clients(files: u64, servers: usize) -> usize {
    let servers = servers.max(1) as u64;
    let reserved = (RESERVED_FILES_PER_SERVER * servers).min(files / 2);
    usize::try_from((files - reserved) / servers).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_files_that_are_not_reserved_and_at_least_half() {
        assert_eq!(max_clients(1_048_576, 1), 1_047_424);
        assert_eq!(max_clients(20_000, 1), 18_848);
        assert_eq!(max_clients(20_000, 5), 2848);
        assert_eq!(max_clients(1024, 1), 512);
        assert_eq!(max_clients(64, 2), 16);
        assert_eq!(max_clients(0, 0), 0);
        assert!(max_clients(u64::MAX, 5) > usize::MAX / 6);
    }
}
