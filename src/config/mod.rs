//! The herd's file, turned into settings that are already valid.
//!
//! One TOML file describes a whole herd: its servers, who talks to whom, and
//! the settings they run with. What comes out of here needs no further check,
//! so a server never starts half. Every mistake in the file is told at once,
//! each with its line and what would be right; for that the tables are walked
//! by hand over toml's parsed tree, which knows where everything stands, and
//! not through serde, which stops at the first mistake and words it for
//! programmers.
//!
//! A key stands in one place: tables and the keys of servers in `file` and
//! `servers`, optional settings with their bounds in `settings`. Reader,
//! messages and the output of `check` all follow from those.
//!
//! What this folder does not do: resolve names, open sockets, look whether a
//! directory or a list of places exists, or read the environment. `herd.toml`
//! is read at the start, and again when somebody says so; `reload` tells what of
//! it can change in a herd that runs.
//!
//! The idea of bounds stated with the cost of too high and too low is quinn's
//! (`quinn-proto/src/config/transport.rs`); here both stand where people look
//! for them, in `config/herd.toml`, and a test holds them true.

mod error;
mod explain;
mod exposure;
mod file;
mod messages;
mod problems;
mod provider;
mod reload;
#[cfg(test)]
mod samples;
mod section;
mod servers;
mod setting;
mod setting_lines;
mod settings;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod shipped;
mod source;
mod tls;
mod value;
mod warnings;

use std::path::{Path, PathBuf};

use crate::model::address::Address;
use crate::model::name::Name;
use crate::server::ServerPlan;
use crate::{clients, gateway, log, peers, places, tls as files, web};

pub use error::{ConfigError, Problem};
pub use reload::{LocalServers, ReloadPlan};
pub use servers::MAX_SERVERS;
pub use source::MAX_FILE_BYTES;
pub use tls::TlsSettings;

/// The file that is read when no other is named.
pub const DEFAULT_PATH: &str = "config/herd.toml";

/// A herd and the settings that its servers run with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where this was read from, for messages.
    pub path: PathBuf,
    /// The name of the herd.
    pub herd: Name,
    /// The servers, in the order of the file: 1 to [`MAX_SERVERS`]. Names
    /// differ by more than case, and no two addresses that others dial are the same.
    pub servers: Vec<Server>,
    /// Who answers what is near.
    pub places: places::PlacesSettings,
    /// Where the log files stand.
    pub log: log::LogSettings,
    /// What goes into the log.
    pub log_level: log::Level,
    /// Limits of the text edge.
    pub clients: clients::ClientSettings,
    /// Limits of the web port.
    pub web: web::WebSettings,
    /// Limits on what a client may report.
    pub gateway: gateway::GatewaySettings,
    /// How servers flood each other.
    pub peers: peers::PeerSettings,
    /// May servers talk unencrypted on other than loopback addresses?
    pub insecure: bool,
    /// The files of certificates and keys.
    pub tls: TlsSettings,
}

/// One server of the herd.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The line of the file on which its entry begins, for messages.
    pub line: usize,
    /// Its name.
    pub name: Name,
    /// Where clients reach it. Like all of these addresses, not with port 0.
    pub clients: Address,
    /// Where its neighbours reach it.
    pub peers: Address,
    /// Where it listens for clients: `clients`, where the file says nothing.
    pub bind_clients: Address,
    /// Where clients reach it with TLS, if they do.
    pub clients_tls: Option<Address>,
    /// Where it listens for those: `clients_tls`, where the file says nothing.
    pub bind_clients_tls: Option<Address>,
    /// Where it listens for its neighbours: `peers`, where the file says
    /// nothing.
    pub bind_peers: Address,
    /// Where monitoring reaches it; `None` where nobody may ask how it is.
    pub web: Option<Address>,
    /// Where it listens for that: `web`, where the file says nothing.
    pub bind_web: Option<Address>,
    /// The servers it has a link with, whichever side of the link names the
    /// other; in the order of the file, each once, never itself.
    pub neighbours: Vec<Name>,
}

impl Config {
    /// Reads the file at `path`, of at most [`MAX_FILE_BYTES`].
    ///
    /// Fails where the file cannot be read, and where anything in it is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        Self::parse(&source::read(path)?, path)
    }

    /// Reads the text of a file; `path` is what messages call it.
    ///
    /// Fails with everything that is wrong in it, in the order of the lines.
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let mut problems = problems::Problems::new(text);
        match file::read(text, path, &mut problems) {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems.into_error(path)),
        }
    }

    /// The server of that name, which must match in case too; else
    /// [`ConfigError::UnknownServer`], which tells what names there are.
    pub fn server(&self, name: &str) -> Result<&Server, ConfigError> {
        let named = |server: &&Server| server.name.as_str() == name;
        self.servers
            .iter()
            .find(named)
            .ok_or_else(|| ConfigError::UnknownServer {
                path: self.path.clone(),
                name: name.to_owned(),
                servers: self.names().cloned().collect(),
            })
    }

    /// What `server`, one of this herd's, needs to know to run.
    pub fn plan(&self, server: &Server) -> ServerPlan {
        let address = |other: &Server| (other.name.clone(), other.peers.clone());
        ServerPlan {
            herd: self.herd.clone(),
            name: server.name.clone(),
            members: self.names().cloned().collect(),
            neighbours: self.neighbours(server).map(address).collect(),
            bind_clients: server.bind_clients.clone(),
            bind_peers: server.bind_peers.clone(),
            tls: self.tls.links_of(&server.name),
            clients_tls: self.clients_tls(server),
            bind_web: server.bind_web.clone(),
            clients: self.clients.clone(),
            web: self.web.clone(),
            gateway: self.gateway.clone(),
            peers: self.peers.clone(),
        }
    }

    /// Where `server` listens for clients with TLS, and what it shows them.
    fn clients_tls(&self, server: &Server) -> Option<(Address, files::Pair)> {
        let pair = self.tls.shown_by(&server.name)?;
        Some((server.bind_clients_tls.clone()?, pair))
    }

    /// The names of the servers, in the order of the file.
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.servers.iter().map(|server| &server.name)
    }

    /// The servers that `server` has a link with, in the order of the file.
    fn neighbours<'a>(&'a self, server: &'a Server) -> impl Iterator<Item = &'a Server> {
        self.servers
            .iter()
            .filter(|other| server.neighbours.contains(&other.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_loaded_from_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("herd.toml");
        std::fs::write(&path, samples::alone()).unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.path, path);
        assert_eq!(config.herd.as_str(), "sample");

        std::fs::write(&path, samples::alone() + "x = 1\n").unwrap();
        let error = Config::load(&path).unwrap_err().to_string();
        let wanted = format!("{}:9: [[servers]] has no key \"x\"", path.display());
        assert!(error.starts_with(&wanted), "{error}");
    }

    #[test]
    fn a_server_is_found_by_its_name() {
        let config = samples::parse(&samples::herd(&[("Riley", &[]), ("Jaquez", &["Riley"])]));
        assert_eq!(config.server("Jaquez").unwrap(), &config.servers[1]);
        for (name, error) in [
            (
                "jaquez",
                "h: no server is called \"jaquez\"; the servers are Riley and Jaquez; \
                 did you mean \"Jaquez\" (case counts)?",
            ),
            (
                "Bob",
                "h: no server is called \"Bob\"; the servers are Riley and Jaquez",
            ),
        ] {
            assert_eq!(config.server(name).unwrap_err().to_string(), error);
        }
    }
}
