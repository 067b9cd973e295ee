//! The config file of a herd, parsed into settings that are already valid.
//!
//! One TOML file describes a whole herd: its servers, their links, and their
//! settings. A [`Config`] needs no further check. All errors of a file are reported
//! at once, each with its line and a valid example. For that the tables are walked
//! by hand over toml's parsed tree, which has the position of every value: serde
//! stops at the first error, and its messages are for programmers.
//!
//! Each key is named in one place: tables and the keys of servers in `file` and
//! `servers`, optional settings with their bounds in `settings`. The parser, the
//! messages and the output of `check` all follow from those.
//!
//! This folder does not resolve names, open sockets, or test whether a directory or a
//! list of places exists. Of the environment it reads the variables that the file names.
//! The file is read at the start and on SIGHUP; `reload` decides which changes apply to a
//! running herd.
//!
//! Stating the cost of too high and too low beside each bound is quinn's idea
//! (`quinn-proto/src/config/transport.rs`). Here both are in `config/herd.toml`, and a
//! test compares that file with the code.

mod error;
mod explain;
mod exposure;
mod file;
mod messages;
mod overlap;
mod path_fault;
mod ports;
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
mod topology;
mod value;
mod variables;
mod warnings;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

use crate::model::address::Address;
use crate::model::name::Name;
use crate::net::FileBudget;
use crate::server::ServerPlan;
use crate::{gateway, log, peers, places, storage, tls as files};

pub use error::{ConfigError, ConfigProblem};
pub use path_fault::parse_path;
pub use ports::BoundPorts;
pub use reload::{LocalServers, ReloadPlan};
pub use servers::MAX_SERVERS;
pub use source::{MAX_FILE_BYTES, is_stdin};
pub use tls::TlsSettings;

/// The config file that is read by default.
const DEFAULT_PATH: &str = "config/herd.toml";

/// The environment variable that names another one.
const PATH_VARIABLE: &str = "PROXYHERD_CONFIG";

/// Returns the config file that is read by default: the one of `PROXYHERD_CONFIG`, if that is set
/// and not empty.
pub fn default_path() -> PathBuf {
    let path = std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty());
    path.map_or_else(|| DEFAULT_PATH.into(), PathBuf::from)
}

/// A herd and the settings of its servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file that this was read from, or a name for standard input, for messages.
    pub path: PathBuf,
    /// The name of the herd.
    pub herd: Name,
    /// The servers, in the order of the file: 1 to [`MAX_SERVERS`]. Names differ by
    /// more than case, and every dialled address is unique.
    pub servers: Vec<ServerConfig>,
    /// The places provider.
    pub places: places::PlacesSettings,
    /// The log files.
    pub log: log::LogSettings,
    /// The log level.
    pub log_level: LevelFilter,
    /// Limits on client connections.
    pub clients: gateway::ClientSettings,
    /// Settings of the web port.
    pub web: gateway::WebSettings,
    /// Limits on clients' reports.
    pub gateway: gateway::GatewaySettings,
    /// Settings of the links between servers.
    pub peers: peers::PeerSettings,
    /// The storage of the servers.
    pub storage: storage::StorageSettings,
    /// Whether servers may talk unencrypted on addresses other than loopback.
    pub insecure: bool,
    /// The files of certificates and keys.
    pub tls: TlsSettings,
}

/// One server of a herd. Port 0 of an address that others use stands for a port that the system
/// picks, and the listening address has port 0 too.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// The line of the file on which its entry begins, for messages.
    pub line: usize,
    /// The name.
    pub name: Name,
    /// The address that clients use.
    pub clients: Address,
    /// The address that neighbours use.
    pub peers: Address,
    /// The listening address for clients; `clients` by default.
    pub bind_clients: Address,
    /// The address that clients use with TLS, if there is one.
    pub clients_tls: Option<Address>,
    /// The listening address for clients with TLS; `clients_tls` by default.
    pub bind_clients_tls: Option<Address>,
    /// The listening address for neighbours; `peers` by default.
    pub bind_peers: Address,
    /// The address of the web port that others use; `None` means no web port.
    pub web: Option<Address>,
    /// The listening address of the web port; `web` by default.
    pub bind_web: Option<Address>,
    /// The servers it has a link with, whichever side names the other: in the order
    /// of the file, each once, never itself.
    pub neighbours: Vec<Name>,
}

impl ServerConfig {
    fn member(&self) -> gateway::Member {
        gateway::Member {
            name: self.name.clone(),
            peers: self.peers.clone(),
            neighbours: self.neighbours.clone(),
        }
    }
}

impl Config {
    /// Reads the file at `path`, of at most [`MAX_FILE_BYTES`]; `-` is standard input.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], or [`ConfigError::Invalid`] with every error of the
    /// file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        Self::parse(&source::read(path)?, source::title(path))
    }

    /// Parses the text of a file, with the environment of this process; `path` is its name in
    /// messages.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every error of the text, in the order of its lines.
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, &|name| std::env::var_os(name))
    }

    /// Parses the text of a file, with other variables.
    fn parse_with(
        text: &str,
        path: impl AsRef<Path>,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let mut problems = problems::Problems::new(text);
        match file::read(text, path, variable, &mut problems) {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems.into_error(path)),
        }
    }

    /// Returns the server of that name; case counts.
    ///
    /// # Errors
    /// [`ConfigError::UnknownServer`].
    pub fn server(&self, name: &str) -> Result<&ServerConfig, ConfigError> {
        let named = |server: &&ServerConfig| server.name.as_str() == name;
        self.servers
            .iter()
            .find(named)
            .ok_or_else(|| ConfigError::UnknownServer {
                path: self.path.clone(),
                name: name.to_owned(),
                servers: self.names().cloned().collect(),
            })
    }

    /// Returns what `server`, one of this herd, needs to run.
    pub fn plan(&self, server: &ServerConfig) -> ServerPlan {
        let address = |other: &ServerConfig| (other.name.clone(), other.peers.clone());
        ServerPlan {
            herd: self.herd.clone(),
            name: server.name.clone(),
            members: self.servers.iter().map(ServerConfig::member).collect(),
            neighbours: self.neighbours(server).map(address).collect(),
            bind_clients: server.bind_clients.clone(),
            bind_peers: server.bind_peers.clone(),
            tls: self.tls.for_links_of(&server.name),
            clients_tls: self.clients_tls(server),
            clients_tls_host: server.clients_tls.clone(),
            bind_web: server.bind_web.clone(),
            web_address: server.web.clone(),
            web_tls: self
                .web
                .tls
                .then(|| self.tls.for_clients_of(&server.name))
                .flatten(),
            files: FileBudget::default(),
            clients: self.clients.clone(),
            web: self.web_settings(),
            gateway: self.gateway,
            peers: self.peers.clone(),
            storage: self.storage.clone(),
        }
    }

    /// Returns the limits on the web port, and the servers that have one.
    fn web_settings(&self) -> gateway::WebSettings {
        let with_web = self
            .servers
            .iter()
            .filter(|server| server.bind_web.is_some());
        gateway::WebSettings {
            servers: with_web.map(|server| server.name.clone()).collect(),
            ..self.web.clone()
        }
    }

    /// Returns the listening address of `server` for clients with TLS, and its
    /// certificate there.
    fn clients_tls(&self, server: &ServerConfig) -> Option<(Address, files::Pair)> {
        let pair = self.tls.for_clients_of(&server.name)?;
        Some((server.bind_clients_tls.clone()?, pair))
    }

    /// The names of the servers, in the order of the file.
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.servers.iter().map(|server| &server.name)
    }

    /// The servers that `server` has a link with, in the order of the file.
    fn neighbours<'a>(
        &'a self,
        server: &'a ServerConfig,
    ) -> impl Iterator<Item = &'a ServerConfig> {
        self.servers
            .iter()
            .filter(|other| server.neighbours.contains(&other.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_loaded_from_its_path_and_errors_name_it() {
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
    fn a_server_is_found_by_its_name_and_case_counts() {
        let config = samples::parse(&samples::herd(&[("Riley", &[]), ("Jaquez", &["Riley"])]));
        assert_eq!(config.server("Jaquez").unwrap(), &config.servers[1]);
        for (name, error) in [
            (
                "jaquez",
                "h: there is no server \"jaquez\"; the servers are Riley and Jaquez; \
                 did you mean \"Jaquez\" (case counts)?",
            ),
            (
                "Bob",
                "h: there is no server \"Bob\"; the servers are Riley and Jaquez",
            ),
        ] {
            assert_eq!(config.server(name).unwrap_err().to_string(), error);
        }
    }
}
