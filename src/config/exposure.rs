//! The rule that servers talk unencrypted on loopback addresses only.
//!
//! A file for many machines has addresses of all kinds, and most of them concern other
//! machines. The rule covers the addresses on which the local servers listen for
//! neighbours, and those that they dial.
//!
//! The rule protects reports from being read and forged. The web port accepts no data, and
//! its metrics hold server names and numbers only; but its page and API show positions, so
//! beyond loopback they need a token.

use super::error::{ConfigError, ConfigProblem};
use super::{Config, ServerConfig};
use crate::model::address::Address;

impl Config {
    /// Checks that `running` may run, in one process or each alone. They may if they use
    /// TLS, if the file has `insecure = true`, or if they listen for neighbours and dial
    /// them on loopback addresses only. The page and the API need a token unless they are on a
    /// loopback address. A DNS name other than `localhost` counts as not
    /// loopback.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with each address that breaks the rule.
    pub fn check_exposure(&self, running: &[&ServerConfig]) -> Result<(), ConfigError> {
        let mut problems = self.exposed_links(running);
        problems.extend(self.exposed_pages(running));
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            path: self.path.clone(),
            problems,
        })
    }

    /// Returns the addresses at which `running` would show positions to everyone, and the
    /// remedies.
    pub(super) fn exposed_pages(&self, running: &[&ServerConfig]) -> Vec<ConfigProblem> {
        if !self.web.api || self.web.token_file.is_some() {
            return Vec::new();
        }
        let exposed = running.iter().filter_map(|server| {
            let address = server.bind_web.as_ref()?;
            (!address.is_loopback()).then(|| ConfigProblem {
                line: Some(server.line),
                column: None,
                message: format!(
                    "{} would show the positions of all clients at its web port on {address}, \
                     which is not a loopback address",
                    server.name
                ),
            })
        });
        let mut problems: Vec<ConfigProblem> = exposed.collect();
        if !problems.is_empty() {
            problems.push(ConfigProblem {
                line: None,
                column: None,
                message: "the page and the API need a token there: set token_file under [web]; or \
                          set api = false, so that the port serves metrics and health only"
                    .into(),
            });
        }
        problems
    }

    /// Returns the addresses at which `running` would talk unencrypted, and the remedies.
    pub(super) fn exposed_links(&self, running: &[&ServerConfig]) -> Vec<ConfigProblem> {
        let exposed = self.exposed(running);
        if self.tls.is_on() || self.insecure || exposed.is_empty() {
            return Vec::new();
        }
        let mut problems: Vec<ConfigProblem> =
            exposed.iter().map(ExposedAddress::problem).collect();
        problems.push(ConfigProblem {
            line: None,
            column: None,
            message: "servers would talk unencrypted; set certificates under [security] \
                      (`proxyherd certs` makes them) or, if every network between the servers \
                      is trusted, insecure = true; loopback addresses, as in \
                      127.0.0.1:13000, need neither"
                .into(),
        });
        problems
    }

    /// Returns the addresses other than loopback that `running` would listen on or dial,
    /// in the order of the file.
    pub(super) fn exposed<'a>(&'a self, running: &[&'a ServerConfig]) -> Vec<ExposedAddress<'a>> {
        self.servers
            .iter()
            .flat_map(|server| ExposedAddress::uses(server, running))
            .filter(|exposed| !exposed.address.is_loopback())
            .collect()
    }
}

/// An address between servers, and its use.
pub(super) struct ExposedAddress<'a> {
    server: &'a ServerConfig,
    pub(super) address: &'a Address,
    /// The server that dials it; `None` if `server` itself listens there.
    dialled_by: Option<&'a ServerConfig>,
}

impl<'a> ExposedAddress<'a> {
    /// Returns the uses of `server`'s addresses by `running`: `server` listens if it is one
    /// of them, and the first of its neighbours dials it. An address with both uses is
    /// returned once.
    fn uses(server: &'a ServerConfig, running: &[&'a ServerConfig]) -> impl Iterator<Item = Self> {
        let listener = running.contains(&server).then_some(Self {
            server,
            address: &server.bind_peers,
            dialled_by: None,
        });
        let dialled = running
            .iter()
            .find(|by| by.neighbours.contains(&server.name))
            .filter(|_| listener.is_none() || server.peers != server.bind_peers)
            .map(|by| Self {
                server,
                address: &server.peers,
                dialled_by: Some(by),
            });
        listener.into_iter().chain(dialled)
    }

    fn problem(&self) -> ConfigProblem {
        let Self {
            server, address, ..
        } = self;
        let message = match self.dialled_by {
            None => format!("{} listens for neighbours on {address}", server.name),
            Some(by) => format!("{} dials {} at {address}", by.name, server.name),
        };
        ConfigProblem {
            line: Some(server.line),
            column: None,
            message: message + ", which is not a loopback address",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{herd, parse};

    const REMEDY: &str = "h: servers would talk unencrypted; set certificates under [security] \
        (`proxyherd certs` makes them) or, if every network between the servers is trusted, \
        insecure = true; loopback addresses, as in 127.0.0.1:13000, need neither";

    /// Returns a herd with the links Riley - Jaquez - Bernard, where Riley's peers address
    /// is on another machine.
    fn chain() -> String {
        herd(&[
            ("Riley", &["Jaquez"]),
            ("Jaquez", &[]),
            ("Bernard", &["Jaquez"]),
        ])
        .replace("127.0.0.1:13000", "riley.example.org:13000")
    }

    fn check(text: &str, names: &[&str]) -> Result<(), String> {
        let config = parse(text);
        let running: Vec<&ServerConfig> = names.iter().map(|n| config.server(n).unwrap()).collect();
        config.check_exposure(&running).map_err(|e| e.to_string())
    }

    #[test]
    fn a_server_that_listens_or_dials_beyond_loopback_is_rejected() {
        let listens = "h:3: Riley listens for neighbours on riley.example.org:13000, \
                       which is not a loopback address";
        let dials = "h:3: Jaquez dials Riley at riley.example.org:13000, \
                     which is not a loopback address";
        assert_eq!(
            check(&chain(), &["Riley"]),
            Err(format!("{listens}\n{REMEDY}"))
        );
        assert_eq!(
            check(&chain(), &["Jaquez"]),
            Err(format!("{dials}\n{REMEDY}"))
        );
        let everyone = ["Riley", "Jaquez", "Bernard"];
        assert_eq!(
            check(&chain(), &everyone),
            Err(format!("{listens}\n{REMEDY}"))
        );
    }

    #[test]
    fn addresses_that_concern_other_machines_do_not_count() {
        assert_eq!(check(&chain(), &["Bernard"]), Ok(()));
        assert_eq!(check(&chain(), &[]), Ok(()));
    }

    #[test]
    fn a_tunnel_to_loopback_is_allowed_for_its_own_server_only() {
        let tunnel = "riley.example.org:13000\"\nbind_peers = \"127.0.0.1:9";
        let text = chain().replace("riley.example.org:13000", tunnel);
        assert_eq!(check(&text, &["Riley"]), Ok(()));
        assert!(check(&text, &["Riley", "Jaquez"]).is_err());
    }

    #[test]
    fn listening_on_every_address_is_rejected() {
        let everywhere = "127.0.0.1:13001\"\nbind_peers = \"0.0.0.0:13001";
        let text = chain().replace("127.0.0.1:13001", everywhere);
        let errors = check(&text, &["Jaquez"]).unwrap_err();
        assert!(errors.contains("\nh:9: Jaquez listens for neighbours on 0.0.0.0:13001, "));
        assert_eq!(check(&text, &["Bernard"]), Ok(()));
    }

    #[test]
    fn tls_allows_every_address() {
        let tls = "[security]\nca = \"ca.pem\"\ncertificate = \"{name}.pem\"\nkey = \"k\"\n";
        let text = chain() + tls;
        assert_eq!(check(&text, &["Riley", "Jaquez", "Bernard"]), Ok(()));
        assert_eq!(parse(&text).warnings(), Vec::<String>::new());
    }

    #[test]
    fn positions_beyond_loopback_need_a_token_and_numbers_do_not() {
        let text = herd(&[("Riley", &[]), ("Jaquez", &[])]).replace(
            "name = \"Riley\"",
            "name = \"Riley\"\nweb = \"0.0.0.0:15000\"",
        );
        let wanted = "h:3: Riley would show the positions of all clients at its web port on \
                      0.0.0.0:15000, which is not a loopback address\n\
                      h: the page and the API need a token there: set token_file under [web]; or \
                      set api = false, so that the port serves metrics and health only";
        assert_eq!(check(&text, &["Riley"]), Err(wanted.to_owned()));
        assert_eq!(check(&text, &["Jaquez"]), Ok(()));
        for web in ["token_file = \"t\"", "api = false"] {
            assert_eq!(check(&format!("{text}[web]\n{web}\n"), &["Riley"]), Ok(()));
        }
        let at_home = text.replace("0.0.0.0", "localhost");
        assert_eq!(check(&at_home, &["Riley"]), Ok(()));
    }

    #[test]
    fn insecure_allows_every_address() {
        let text = chain() + "[security]\ninsecure = true\n";
        assert_eq!(check(&text, &["Riley", "Jaquez", "Bernard"]), Ok(()));
    }
}
