//! Port 0 in the addresses of servers: the system picks a free port when the server starts.
//!
//! Others learn a picked port from the process that listens on it, so it suits `up`, whose servers
//! run in one process, and the ports for clients and web.

use super::error::{ConfigError, ConfigProblem};
use super::{Config, ServerConfig};
use crate::model::address::Address;
use crate::model::name::Name;

/// The ports on which a running server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundPorts {
    /// For clients.
    pub clients: u16,
    /// For clients with TLS, if it has such a port.
    pub clients_tls: Option<u16>,
    /// For neighbours.
    pub peers: u16,
    /// The web port, if it has one.
    pub web: Option<u16>,
}

impl Config {
    /// Replaces each port 0 of a server by the port that was picked.
    pub fn set_ports(&mut self, server: &Name, ports: BoundPorts) {
        let mut servers = self.servers.iter_mut();
        if let Some(server) = servers.find(|other| other.name == *server) {
            let picked = [
                Some(ports.clients),
                ports.clients_tls,
                Some(ports.peers),
                ports.web,
            ];
            let pairs = server.address_pairs().into_iter().flatten();
            for (address, port) in pairs.zip(picked.map(|port| [port, port]).into_iter().flatten())
            {
                if let (Some(address), Some(port)) = (address, port) {
                    pick(address, port);
                }
            }
        }
    }

    /// Replaces each port 0 by the one that the running herd has for it, so that a file read
    /// again means the ports that were picked.
    pub fn keep_ports(&mut self, running: &Self) {
        for server in &mut self.servers {
            let Some(old) = running.servers.iter().find(|old| old.name == server.name) else {
                continue;
            };
            let mut old = old.clone();
            for (new, old) in server.address_pairs().into_iter().zip(old.address_pairs()) {
                for (new, old) in new.into_iter().flatten().zip(old.into_iter().flatten()) {
                    if new.host() == old.host() {
                        pick(new, old.port());
                    }
                }
            }
        }
    }

    /// Checks that the port of an address of `server` is in the file, for a program that only reads
    /// it. `way_out` tells what to do otherwise.
    ///
    /// # Errors
    /// The port is picked when the server starts.
    pub fn check_known(
        &self,
        server: &ServerConfig,
        address: &Address,
        way_out: &str,
    ) -> Result<(), String> {
        if address.port() > 0 {
            return Ok(());
        }
        let (path, name) = (self.path.display(), &server.name);
        Err(format!(
            "{path}: the port of {name} is picked at its start (port 0); {way_out}"
        ))
    }

    /// Checks that neighbours in other processes can find `server`, and it them.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with each address that is not known before its server starts.
    pub fn check_ports(&self, server: &ServerConfig) -> Result<(), ConfigError> {
        let has_no_port = |other: &&ServerConfig| other.peers.port() == 0;
        let own = Some(server).filter(|server| !server.neighbours.is_empty());
        let unknown = own
            .into_iter()
            .chain(self.neighbours(server))
            .filter(has_no_port);
        let problem = |other: &ServerConfig| ConfigProblem {
            line: Some(other.line),
            column: None,
            message: format!(
                "peers of {} has port 0, so neighbours in other processes cannot find it; give it \
                 a port, or run the whole herd with `up`",
                other.name
            ),
        };
        let problems: Vec<_> = unknown.map(problem).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            path: self.path.clone(),
            problems,
        })
    }
}

impl ServerConfig {
    /// Returns the address that others use and the listening address, of each purpose.
    fn address_pairs(&mut self) -> [[Option<&mut Address>; 2]; 4] {
        [
            [Some(&mut self.clients), Some(&mut self.bind_clients)],
            [self.clients_tls.as_mut(), self.bind_clients_tls.as_mut()],
            [Some(&mut self.peers), Some(&mut self.bind_peers)],
            [self.web.as_mut(), self.bind_web.as_mut()],
        ]
    }
}

fn pick(address: &mut Address, port: u16) {
    if address.port() == 0 {
        *address = address.with_port(port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{alone, herd, parse};

    fn addresses(config: &Config) -> Vec<String> {
        let mut server = config.servers[0].clone();
        let all = server.address_pairs().into_iter().flatten().flatten();
        all.map(|address| address.to_string()).collect()
    }

    fn free() -> Config {
        let text = alone()
            .replace(":12000", ":0")
            .replace("127.0.0.1:13000", "localhost:0");
        parse(&(text + "web = \"127.0.0.1:15000\"\nbind_peers = \"0.0.0.0:0\"\n"))
    }

    const PORTS: BoundPorts = BoundPorts {
        clients: 1,
        clients_tls: None,
        peers: 2,
        web: Some(15_000),
    };

    #[test]
    fn picked_ports_take_the_place_of_port_0_only() {
        let mut config = free();
        config.set_ports(&config.servers[0].name.clone(), PORTS);
        let picked = [
            "127.0.0.1:1",
            "127.0.0.1:1",
            "localhost:2",
            "0.0.0.0:2",
            "127.0.0.1:15000",
            "127.0.0.1:15000",
        ];
        assert_eq!(addresses(&config), picked);
        let mut again = free();
        again.keep_ports(&config);
        assert_eq!(addresses(&again), picked);
        // Another host is another address, whose port is not known.
        let mut moved = parse(&alone().replace("127.0.0.1:12000", "127.0.0.2:0"));
        moved.keep_ports(&config);
        assert_eq!(addresses(&moved)[0], "127.0.0.2:0");
    }

    #[test]
    fn neighbours_in_other_processes_need_a_port() {
        let text = herd(&[("A", &["B"]), ("B", &[]), ("C", &[])]);
        let config = parse(&text.replace(":13001", ":0").replace(":13002", ":0"));
        let check = |i: usize| config.check_ports(&config.servers[i]);
        let error = "h:9: peers of B has port 0, so neighbours in other processes cannot find it; \
                     give it a port, or run the whole herd with `up`";
        assert_eq!(check(0).unwrap_err().to_string(), error);
        assert_eq!(check(1).unwrap_err().to_string(), error);
        assert!(check(2).is_ok());
    }
}
