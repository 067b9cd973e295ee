//! Which servers a question goes to, as the command line says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, DEFAULT_PATH};
use crate::model::address::Address;
use crate::tls::{Credentials, Files, Pair};

use super::outcome::CommandError;
use super::server::{Identity, Server};
use super::units;

/// Arguments that every question has.
#[derive(Debug, clap::Args)]
pub(super) struct Targets {
    /// The file that describes the herd
    #[arg(long = "config", value_name = "FILE", default_value = DEFAULT_PATH)]
    path: PathBuf,
    /// Ask only this server of the config; may be repeated
    #[arg(long = "server", value_name = "NAME")]
    names: Vec<String>,
    /// Ask the server with this peer address; may be repeated
    #[arg(long = "at", value_name = "HOST:PORT", value_parser = units::address,
          conflicts_with_all = ["path", "names"])]
    addresses: Vec<Address>,
    /// Longest wait for an answer, as in 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = wait)]
    timeout: Duration,
    /// Your certificate as an operator, where servers talk TLS: a PEM file, as
    /// `proxyherd certs operator NAME` makes it
    #[arg(
        long,
        value_name = "FILE",
        requires = "key",
        conflicts_with = "addresses"
    )]
    certificate: Option<PathBuf>,
    /// The key of that certificate: a PEM file
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Targets {
    /// The servers, each once, in the order of the config or of the command
    /// line. At least one. Must be called within a runtime.
    pub(super) fn servers(&self) -> Result<Vec<Server>, CommandError> {
        match self.addresses.as_slice() {
            [] => self.configured(),
            addresses => addresses
                .iter()
                .enumerate()
                .filter(|(i, address)| !addresses[..*i].contains(address))
                .map(|(_, address)| Server::dial(address, None, None, self.timeout))
                .collect(),
        }
    }

    fn configured(&self) -> Result<Vec<Server>, CommandError> {
        let config = Config::load(&self.path)?;
        for name in &self.names {
            config.server(name)?;
        }
        let credentials = self.credentials(&config)?;
        let is_asked = |name: &str| self.names.is_empty() || self.names.iter().any(|n| n == name);
        let asked = config.servers.iter().filter(|s| is_asked(s.name.as_str()));
        let dial = |server: &crate::config::ServerConfig| {
            let identity = Identity {
                herd: config.herd.clone(),
                name: server.name.clone(),
            };
            let credentials = credentials.as_ref();
            Server::dial(&server.peers, Some(identity), credentials, self.timeout)
        };
        asked.map(dial).collect()
    }

    /// What the operator shows to servers; `None` where they talk plaintext.
    fn credentials(&self, config: &Config) -> Result<Option<Arc<Credentials>>, CommandError> {
        let own = self.certificate.clone().zip(self.key.clone());
        let (ca, (certificate, key)) = match (config.tls.ca(), own) {
            (Some(ca), Some(own)) => (ca.to_owned(), own),
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return Err(CommandError::mistake(
                    "the servers of this herd want a certificate: name yours with --certificate \
                     and --key (`proxyherd certs operator NAME` makes one)",
                ));
            }
            (None, Some(_)) => {
                return Err(CommandError::mistake(
                    "the config names no CA under [security], so its servers talk plaintext: \
                     leave out --certificate and --key, or use the config that the servers use",
                ));
            }
        };
        let own = Pair { certificate, key };
        let credentials = Credentials::of_operator(Files { ca, own });
        let credentials = credentials.map_err(CommandError::mistake)?;
        Ok(Some(Arc::new(credentials)))
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
