//! Which servers a question goes to, as the command line says.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, DEFAULT_PATH};
use crate::model::address::Address;

use super::amounts;
use super::ending::Trouble;
use super::server::{Identity, Server};

/// Arguments that every question has.
#[derive(Debug, clap::Args)]
pub(super) struct Whom {
    /// The file that describes the herd
    #[arg(long = "config", value_name = "FILE", default_value = DEFAULT_PATH)]
    path: PathBuf,
    /// Ask only this server of the config; may be repeated
    #[arg(long = "server", value_name = "NAME")]
    names: Vec<String>,
    /// Ask the server with this peer address; may be repeated
    #[arg(long = "at", value_name = "HOST:PORT", value_parser = amounts::address,
          conflicts_with_all = ["path", "names"])]
    addresses: Vec<Address>,
    /// Longest wait for an answer, as in 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = wait)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Whom {
    /// The servers, each once, in the order of the config or of the command
    /// line. At least one. Must be called within a runtime.
    pub(super) fn servers(&self) -> Result<Vec<Server>, Trouble> {
        match self.addresses.as_slice() {
            [] => self.configured(),
            addresses => addresses
                .iter()
                .enumerate()
                .filter(|(i, address)| !addresses[..*i].contains(address))
                .map(|(_, address)| Server::dial(address, None, self.timeout))
                .collect(),
        }
    }

    fn configured(&self) -> Result<Vec<Server>, Trouble> {
        let config = Config::load(&self.path)?;
        for name in &self.names {
            config.server(name)?;
        }
        let is_asked = |name: &str| self.names.is_empty() || self.names.iter().any(|n| n == name);
        let asked = config.servers.iter().filter(|s| is_asked(s.name.as_str()));
        let dial = |server: &crate::config::Server| {
            let identity = Identity {
                herd: config.herd.clone(),
                name: server.name.clone(),
            };
            Server::dial(&server.peers, Some(identity), self.timeout)
        };
        asked.map(dial).collect()
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (MIN_WAIT..=MAX_WAIT).contains(&time) => Ok(time),
        Ok(_) => Err("it must be 1ms to 1h".to_owned()),
        Err(error) => Err(format!("{error}; it is written as in 500ms or 5s")),
    }
}

const MIN_WAIT: Duration = Duration::from_millis(1);
const MAX_WAIT: Duration = Duration::from_secs(3600);
