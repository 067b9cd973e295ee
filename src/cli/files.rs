//! How many files the process may have open, and how many of them are for
//! clients.
//!
//! Each connection takes one. Without a share of their own, clients by the
//! thousand would take those that links to neighbours need too, and a link that
//! went down could not come up again.

/// Files of one server that clients do not get: as many connections as its peer
/// port takes, and what its links, its log and its sockets need.
const OTHERS: u64 = 1024 + 128;

/// Lets the process open as many files as the system permits, since it hands
/// out few unless it is asked for more. Gives how many those are.
pub(super) fn raise_limit() -> std::io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// How many clients each of `servers` servers in one process may have where it
/// may open `files` files: what is left by all else, and half of the files where
/// those are few.
pub(super) fn clients_of_each(files: u64, servers: usize) -> usize {
    let servers = servers.max(1) as u64;
    let others = (OTHERS * servers).min(files / 2);
    usize::try_from((files - others) / servers).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_others_leave_and_half_where_files_are_few() {
        assert_eq!(clients_of_each(1_048_576, 1), 1_047_424);
        assert_eq!(clients_of_each(20_000, 1), 18_848);
        assert_eq!(clients_of_each(20_000, 5), 2848);
        assert_eq!(clients_of_each(1024, 1), 512);
        assert_eq!(clients_of_each(64, 2), 16);
        assert_eq!(clients_of_each(0, 0), 0);
        assert!(clients_of_each(u64::MAX, 5) > usize::MAX / 6);
    }
}
