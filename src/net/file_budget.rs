//! How a server divides the open files that the system permits.
//!
//! Every connection takes a file, so all bounds on connections and handshakes follow from
//! the one limit on files. What a server cannot do without comes first, and clients get
//! most of the rest: whatever connects to one port leaves the files of the others alone.

use std::fmt;

use crate::format::{count, list};

/// Files of a process beside those of its servers: its streams and runtime, the config and
/// certificates while they are read, and name resolution.
const PROCESS_FILES: usize = 16;

/// Files of a server beside its connections: listeners, the log and its rotation. About 20
/// are open in a process with one quiet server.
const OTHER_FILES: usize = 8;

/// Minimum number of files of a server for connections other than links. With fewer, the
/// maximum of each kind, at least 1, would add up to more than there are.
const MIN_REST: usize = 8;

/// Files of a link: a connection in each direction, and one more of each while it is
/// replaced.
const FILES_PER_LINK: usize = 4;

/// What a server needs open files for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNeeds {
    /// Number of links.
    pub links: usize,
    /// Maximum number of connections to the places provider. All servers of a process share them.
    pub places: usize,
    /// True if it has a web port.
    pub has_web: bool,
}

impl FileNeeds {
    /// Returns the number of files that a server cannot do without.
    fn fixed(&self) -> usize {
        OTHER_FILES + self.places + FILES_PER_LINK * self.links
    }
}

/// The maximum number of connections of each kind to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileBudget {
    /// Connections of clients whose handshake is done.
    pub clients: usize,
    /// Unfinished handshakes of clients: TLS, and headers of proxies.
    pub client_handshakes: usize,
    /// Connections to the peer port whose handshake is done, those of links included.
    pub peers: usize,
    /// Unfinished handshakes at the peer port, and connections that have not sent a byte.
    pub peer_handshakes: usize,
    /// Connections to the web port.
    pub web: usize,
}

/// The budget of a server whose files are not limited.
impl Default for FileBudget {
    fn default() -> Self {
        Self {
            clients: usize::MAX,
            client_handshakes: 1024,
            peers: 1024,
            peer_handshakes: 256,
            web: 64,
        }
    }
}

/// The error of a process that may open too few files for its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewFiles {
    /// The number of servers.
    pub servers: usize,
    /// The number of files that the process may open.
    pub max_files: usize,
    /// The number that it needs.
    pub needed: usize,
}

impl fmt::Display for TooFewFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            servers,
            max_files,
            needed,
        } = self;
        write!(
            f,
            "too few open files: {} with their links and a few clients need {needed}, and the \
             system permits this process {max_files}; raise the limit (ulimit -n {needed}, or \
             LimitNOFILE={needed}), best far above that, since each client takes one more",
            count(*servers as u64, "server"),
        )
    }
}

impl std::error::Error for TooFewFiles {}

impl FileBudget {
    /// Divides the `max_files` that a process may open between its servers: each gets what it
    /// needs, and an equal part of the rest.
    ///
    /// # Errors
    /// [`TooFewFiles`], if links and a few connections of each kind would not fit.
    pub fn divide(max_files: usize, needs: &[FileNeeds]) -> Result<Vec<Self>, TooFewFiles> {
        let fixed = needs.iter().map(FileNeeds::fixed).sum::<usize>() + PROCESS_FILES;
        let rest = max_files.saturating_sub(fixed) / needs.len().max(1);
        if rest < MIN_REST {
            return Err(TooFewFiles {
                servers: needs.len(),
                max_files,
                needed: fixed + MIN_REST * needs.len(),
            });
        }
        Ok(needs
            .iter()
            .map(|needs| Self::of_rest(rest, *needs))
            .collect())
    }

    /// Divides the files of a server that are not for links between all connections.
    fn of_rest(rest: usize, needs: FileNeeds) -> Self {
        let most = Self::default();
        let share = |parts: usize, most: usize| (rest / parts).clamp(1, most);
        let if_any = |has: bool, share: usize| if has { share } else { 0 };
        // Also without a port for TLS: a reload may name proxies, whose headers are handshakes.
        let client_handshakes = share(16, most.client_handshakes);
        let strangers = share(8, most.peers);
        let peer_handshakes = share(16, most.peer_handshakes);
        let web = if_any(needs.has_web, share(16, most.web));
        let taken = client_handshakes + strangers + peer_handshakes + web;
        Self {
            clients: rest.saturating_sub(taken).max(1),
            client_handshakes,
            // Those that link here, whose files are in the fixed part.
            peers: strangers + FILES_PER_LINK / 2 * needs.links,
            peer_handshakes,
            web,
        }
    }
}

impl fmt::Display for FileBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.clients, "clients"),
            (self.client_handshakes, "handshakes of clients"),
            (self.peers, "connections to the peer port"),
            (self.peer_handshakes, "handshakes there"),
            (self.web, "connections to the web port"),
        ];
        let parts = parts.into_iter().filter(|(number, _)| *number > 0);
        let parts: Vec<String> = parts
            .map(|(number, what)| format!("{number} {what}"))
            .collect();
        f.write_str(&list(&parts, "and"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEEDS: FileNeeds = FileNeeds {
        links: 2,
        places: 0,
        has_web: true,
    };

    #[test]
    fn few_files_are_divided_and_many_are_for_clients() {
        let budget = |files| {
            let FileBudget {
                clients,
                client_handshakes,
                peers,
                peer_handshakes,
                web,
            } = FileBudget::divide(files, &[NEEDS]).unwrap()[0];
            [clients, client_handshakes, peers, peer_handshakes, web]
        };
        assert_eq!(budget(40), [4, 1, 5, 1, 1]);
        assert_eq!(budget(64), [22, 2, 8, 2, 2]);
        assert_eq!(budget(1024), [682, 62, 128, 62, 62]);
        assert_eq!(budget(20_000), [17_600, 1024, 1028, 256, 64]);
        let without = FileNeeds {
            has_web: false,
            ..NEEDS
        };
        let budget = FileBudget::divide(1024, &[without]).unwrap()[0];
        assert_eq!(budget.clients, 682 + 62);
    }

    #[test]
    fn too_few_files_are_an_error_with_the_number_that_is_needed() {
        for servers in [1, 60] {
            let needs = vec![NEEDS; servers];
            let error = FileBudget::divide(39, &needs).unwrap_err();
            assert_eq!((error.servers, error.max_files), (servers, 39));
            assert_eq!(error.needed, 16 + servers * 24);
            assert!(FileBudget::divide(error.needed, &needs).is_ok());
            assert_eq!(
                FileBudget::divide(error.needed - 1, &needs)
                    .unwrap_err()
                    .needed,
                error.needed
            );
        }
    }

    proptest! {
        #[test]
        fn links_and_all_connections_together_fit_into_the_limit(
            links in 0..=60_usize,
            places in 0..=32_usize,
            has_web: bool,
            spare in 8..100_000_usize,
        ) {
            let needs = FileNeeds { links, places, has_web };
            let max_files = PROCESS_FILES + needs.fixed() + spare;
            let budget = FileBudget::divide(max_files, &[needs]).unwrap()[0];
            let dialled = FILES_PER_LINK / 2 * links;
            let all = PROCESS_FILES + OTHER_FILES + places + dialled + budget.clients + budget.client_handshakes
                + budget.peers + budget.peer_handshakes + budget.web;
            prop_assert!(all <= max_files, "{:?}", budget);
            prop_assert!(budget.clients >= spare / 2, "{:?}", budget);
            prop_assert_eq!(budget.web > 0, has_web);
        }
    }
}
