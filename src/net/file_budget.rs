//! How a server divides the open files that the system permits.
//!
//! Every connection takes a file, so all bounds on connections and handshakes follow from
//! the one limit on files. What a server cannot do without comes first, and clients get
//! most of the rest: whatever connects to one port leaves the files of the others alone.

use std::fmt;

use crate::format::list;

/// Files of a server beside its connections: the streams and the runtime of the process,
/// listeners, the log and its rotation, the config and certificates while they are read,
/// and name resolution. About 20 are open in a quiet server.
const OTHER_FILES: usize = 24;

/// Files of a link: a connection in each direction, and one more of each while it is
/// replaced.
const FILES_PER_LINK: usize = 4;

/// What a server needs open files for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNeeds {
    /// Number of links.
    pub links: usize,
    /// Maximum number of connections to the places provider.
    pub places: usize,
    /// True if clients may have handshakes: a port with TLS, or proxies that send headers.
    pub has_client_handshakes: bool,
    /// True if it has a web port.
    pub has_web: bool,
}

/// The maximum number of connections of each kind to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileBudget {
    /// Connections of clients whose handshake is done.
    pub clients: usize,
    /// Unfinished handshakes of clients.
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

impl FileBudget {
    /// Divides the `max_files` that a server may open. Each maximum is at least 1, so that
    /// a server with too few files for its needs still takes turns.
    pub fn new(max_files: usize, needs: FileNeeds) -> Self {
        let most = Self::default();
        let needed = OTHER_FILES + needs.places + FILES_PER_LINK * needs.links;
        let rest = max_files.saturating_sub(needed);
        let share = |parts: usize, most: usize| (rest / parts).clamp(1, most);
        let if_any = |has: bool, share: usize| if has { share } else { 0 };
        let client_handshakes = if_any(
            needs.has_client_handshakes,
            share(16, most.client_handshakes),
        );
        let strangers = share(8, most.peers);
        let peer_handshakes = share(16, most.peer_handshakes);
        let web = if_any(needs.has_web, share(16, most.web));
        let taken = client_handshakes + strangers + peer_handshakes + web;
        Self {
            clients: rest.saturating_sub(taken).max(1),
            client_handshakes,
            // Those that link here, whose number of files is in `needed`.
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
        has_client_handshakes: true,
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
            } = FileBudget::new(files, NEEDS);
            [clients, client_handshakes, peers, peer_handshakes, web]
        };
        assert_eq!(budget(0), [1, 1, 5, 1, 1]);
        assert_eq!(budget(64), [22, 2, 8, 2, 2]);
        assert_eq!(budget(1024), [682, 62, 128, 62, 62]);
        assert_eq!(budget(20_000), [17_600, 1024, 1028, 256, 64]);
        let without = FileNeeds {
            has_client_handshakes: false,
            has_web: false,
            ..NEEDS
        };
        assert_eq!(FileBudget::new(1024, without).clients, 682 + 62 + 62);
    }

    proptest! {
        #[test]
        fn links_and_all_connections_together_fit_into_the_limit(
            links in 0..=60_usize,
            places in 0..=32_usize,
            has_client_handshakes: bool,
            has_web: bool,
            spare in 8..100_000_usize,
        ) {
            let needs = FileNeeds { links, places, has_client_handshakes, has_web };
            let max_files = OTHER_FILES + places + FILES_PER_LINK * links + spare;
            let budget = FileBudget::new(max_files, needs);
            let dialled = FILES_PER_LINK / 2 * links;
            let all = OTHER_FILES + places + dialled + budget.clients + budget.client_handshakes
                + budget.peers + budget.peer_handshakes + budget.web;
            prop_assert!(all <= max_files, "{:?}", budget);
            prop_assert!(budget.clients >= spare / 2, "{:?}", budget);
            prop_assert_eq!(budget.web > 0, has_web);
        }
    }
}
