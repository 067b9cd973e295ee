//! The rule on talk between servers that leaves the machine.
//!
//! Without TLS servers talk unencrypted, and by default over loopback only. A
//! file for many machines names addresses of all kinds, and most of them
//! concern other machines: what counts is where the servers that run here
//! listen, and whom they dial.
//!
//! It is about reports, which can be read and forged. The web port tells
//! names of servers and numbers and takes nothing, and it is open only where the
//! file says so: it may be wherever monitoring is, and does not count here.

use super::error::{ConfigError, Problem};
use super::{Config, Server};
use crate::model::address::Address;

impl Config {
    /// May `running` run, all in one process or each alone? They may if they use
    /// TLS, if the file says `insecure = true`, or if they listen for their
    /// neighbours and dial them on loopback addresses only. A DNS name other than `localhost`
    /// counts as leaving the machine.
    ///
    /// Fails with each address that is in the way.
    pub fn check_exposure(&self, running: &[&Server]) -> Result<(), ConfigError> {
        let exposed = self.exposed(running);
        if self.tls.is_on() || self.insecure || exposed.is_empty() {
            return Ok(());
        }
        let mut problems: Vec<Problem> = exposed.iter().map(Exposed::problem).collect();
        problems.push(Problem {
            line: None,
            column: None,
            message: "servers talk unencrypted; give them certificates under [security] \
                      (`proxyherd certs` makes some), or, if you trust every network between \
                      them, write insecure = true under [security]; only loopback \
                      addresses, as in 127.0.0.1:13000, need neither"
                .into(),
        });
        Err(ConfigError::Invalid {
            path: self.path.clone(),
            problems,
        })
    }

    /// The addresses beyond loopback that `running` would listen on or dial, in
    /// the order of the file.
    pub(super) fn exposed<'a>(&'a self, running: &[&'a Server]) -> Vec<Exposed<'a>> {
        self.servers
            .iter()
            .flat_map(|server| Exposed::uses(server, running))
            .filter(|exposed| !exposed.address.is_loopback())
            .collect()
    }
}

/// An address between servers, and what it is used for.
pub(super) struct Exposed<'a> {
    server: &'a Server,
    pub(super) address: &'a Address,
    /// Who dials it; `None` where `server` itself listens there.
    by: Option<&'a Server>,
}

impl<'a> Exposed<'a> {
    /// How `running` use the addresses of `server`: it listens, if it is one
    /// of them, and the first that is a neighbour dials it. Both on one
    /// address are told once.
    fn uses(server: &'a Server, running: &[&'a Server]) -> impl Iterator<Item = Self> {
        let listener = running.contains(&server).then_some(Self {
            server,
            address: &server.bind_peers,
            by: None,
        });
        let dialled = running
            .iter()
            .find(|by| by.neighbours.contains(&server.name))
            .filter(|_| listener.is_none() || server.peers != server.bind_peers)
            .map(|by| Self {
                server,
                address: &server.peers,
                by: Some(by),
            });
        listener.into_iter().chain(dialled)
    }

    fn problem(&self) -> Problem {
        let Self {
            server, address, ..
        } = self;
        let message = match self.by {
            None => format!("{} listens for its neighbours on {address}", server.name),
            Some(by) => format!("{} dials {} at {address}", by.name, server.name),
        };
        Problem {
            line: Some(server.line),
            column: None,
            message: message + ", which is no loopback address",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{herd, parse};

    const WAY_OUT: &str = "h: servers talk unencrypted; give them certificates under [security] \
        (`proxyherd certs` makes some), or, if you trust every network between them, write \
        insecure = true under [security]; only loopback addresses, as in 127.0.0.1:13000, need neither";

    /// Riley and Jaquez talk, Bernard talks with Jaquez; Riley's peers address
    /// is elsewhere.
    fn chain() -> String {
        herd(&[
            ("Riley", &["Jaquez"]),
            ("Jaquez", &[]),
            ("Bernard", &["Jaquez"]),
        ])
        .replace("127.0.0.1:13000", "riley.example.org:13000")
    }

    fn judge(text: &str, names: &[&str]) -> Result<(), String> {
        let config = parse(text);
        let running: Vec<&Server> = names.iter().map(|n| config.server(n).unwrap()).collect();
        config.check_exposure(&running).map_err(|e| e.to_string())
    }

    #[test]
    fn who_listens_or_dials_beyond_loopback_may_not_run() {
        let listens = "h:3: Riley listens for its neighbours on riley.example.org:13000, \
                       which is no loopback address";
        let dials = "h:3: Jaquez dials Riley at riley.example.org:13000, \
                     which is no loopback address";
        assert_eq!(
            judge(&chain(), &["Riley"]),
            Err(format!("{listens}\n{WAY_OUT}"))
        );
        assert_eq!(
            judge(&chain(), &["Jaquez"]),
            Err(format!("{dials}\n{WAY_OUT}"))
        );
        let everyone = ["Riley", "Jaquez", "Bernard"];
        assert_eq!(
            judge(&chain(), &everyone),
            Err(format!("{listens}\n{WAY_OUT}"))
        );
    }

    #[test]
    fn addresses_that_concern_other_machines_do_not_count() {
        assert_eq!(judge(&chain(), &["Bernard"]), Ok(()));
        assert_eq!(judge(&chain(), &[]), Ok(()));
    }

    #[test]
    fn a_tunnel_that_ends_at_loopback_is_fine_for_its_own_server_only() {
        let tunnel = "riley.example.org:13000\"\nbind_peers = \"127.0.0.1:9";
        let text = chain().replace("riley.example.org:13000", tunnel);
        assert_eq!(judge(&text, &["Riley"]), Ok(()));
        assert!(judge(&text, &["Riley", "Jaquez"]).is_err());
    }

    #[test]
    fn to_listen_everywhere_leaves_the_machine_too() {
        let everywhere = "127.0.0.1:13001\"\nbind_peers = \"0.0.0.0:13001";
        let text = chain().replace("127.0.0.1:13001", everywhere);
        let told = judge(&text, &["Jaquez"]).unwrap_err();
        assert!(told.contains("\nh:9: Jaquez listens for its neighbours on 0.0.0.0:13001, "));
        assert_eq!(judge(&text, &["Bernard"]), Ok(()));
    }

    #[test]
    fn tls_allows_it_all() {
        let tls = "[security]\nca = \"ca.pem\"\ncertificate = \"{name}.pem\"\nkey = \"k\"\n";
        let text = chain() + tls;
        assert_eq!(judge(&text, &["Riley", "Jaquez", "Bernard"]), Ok(()));
        assert_eq!(parse(&text).warnings(), Vec::<String>::new());
    }

    #[test]
    fn insecure_allows_it_all() {
        let text = chain() + "[security]\ninsecure = true\n";
        assert_eq!(judge(&text, &["Riley", "Jaquez", "Bernard"]), Ok(()));
    }
}
