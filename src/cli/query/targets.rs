//! The servers of a query, as the command line selects them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config::{Config, ServerConfig, default_path};
use crate::model::address::Address;
use crate::net::Resolver;
use crate::operator_client::{Identity, RemoteServer};
use crate::tls::{Credentials, Files, Pair};

use super::outcome::CommandError;
use super::units;

/// Arguments of every query.
#[derive(Debug, clap::Args)]
pub(super) struct Targets {
    /// The config file, - for standard input [env: PROXYHERD_CONFIG]
    #[arg(long = "config", value_name = "FILE", default_value_os_t = default_path())]
    path: PathBuf,
    /// The config, once it was read: standard input can be read once.
    #[arg(skip)]
    loaded: OnceLock<Box<Config>>,
    /// Query only this server of the config; may be repeated
    #[arg(long = "server", value_name = "NAME")]
    names: Vec<String>,
    /// Query the server with this peer address, without a config; may be repeated
    #[arg(long = "at", value_name = "HOST:PORT", value_parser = units::address,
          conflicts_with_all = ["path", "names"])]
    addresses: Vec<Address>,
    /// Maximum wait for an answer, such as 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    timeout: Duration,
    /// Your certificate as an operator, if the herd uses TLS: a PEM file that
    /// `proxyherd certs operator NAME` makes
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
    /// Returns the servers, each once and at least one, in the order of the config or of
    /// the command line. Must be called within a runtime.
    pub(super) fn servers(&self) -> Result<Vec<RemoteServer>, CommandError> {
        let resolver = Resolver::system();
        let limit = self.timeout;
        match self.addresses.as_slice() {
            [] => self.configured(&resolver),
            addresses => addresses
                .iter()
                .enumerate()
                .filter(|(i, address)| !addresses[..*i].contains(address))
                .map(|(_, address)| RemoteServer::dial(address, &resolver, None, None, limit))
                .map(|dialled| dialled.map_err(CommandError::usage))
                .collect(),
        }
    }

    /// Returns the config; `None` if servers are given by their addresses.
    pub(super) fn config(&self) -> Result<Option<Config>, CommandError> {
        if self.addresses.is_empty() {
            Ok(Some(self.load()?.clone()))
        } else {
            Ok(None)
        }
    }

    /// Returns whether a server of the config is one of the targets.
    pub(super) fn includes(&self, server: &ServerConfig) -> bool {
        let name = server.name.as_str();
        self.names.is_empty() || self.names.iter().any(|other| other == name)
    }

    /// Returns the maximum wait for an answer.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn load(&self) -> Result<&Config, CommandError> {
        if let Some(config) = self.loaded.get() {
            return Ok(config);
        }
        let config = Box::new(Config::load(&self.path)?);
        Ok(self.loaded.get_or_init(|| config))
    }

    fn configured(&self, resolver: &Resolver) -> Result<Vec<RemoteServer>, CommandError> {
        let config = self.load()?;
        for name in &self.names {
            config.server(name)?;
        }
        let credentials = self.credentials(config)?;
        let targets = config.servers.iter().filter(|server| self.includes(server));
        let dial = |server: &ServerConfig| {
            let way_out = "give the address that its process printed with --at";
            let known = config.check_known(server, &server.peers, way_out);
            known.map_err(CommandError::usage)?;
            let identity = Identity {
                herd: config.herd.clone(),
                name: server.name.clone(),
            };
            let (identity, credentials) = (Some(identity), credentials.as_ref());
            RemoteServer::dial(&server.peers, resolver, identity, credentials, self.timeout)
                .map(|remote| remote.with_neighbours(server.neighbours.clone()))
                .map_err(CommandError::usage)
        };
        targets.map(dial).collect()
    }

    /// Returns the credentials of the operator; `None` if the herd uses plaintext.
    fn credentials(&self, config: &Config) -> Result<Option<Arc<Credentials>>, CommandError> {
        let own = self.certificate.clone().zip(self.key.clone());
        let (ca, (certificate, key)) = match (config.tls.ca(), own) {
            (Some(ca), Some(own)) => (ca.to_owned(), own),
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return Err(CommandError::usage(
                    "the servers of this herd require a certificate: give yours with --certificate \
                     and --key (`proxyherd certs operator NAME` makes one)",
                ));
            }
            (None, Some(_)) => {
                return Err(CommandError::usage(
                    "the config has no CA under [security], so its servers use plaintext: omit \
                     --certificate and --key, or use the config of the servers",
                ));
            }
        };
        let own = Pair { certificate, key };
        let credentials = Credentials::of_operator(Files { ca, own });
        let credentials = credentials.map_err(CommandError::usage)?;
        Ok(Some(Arc::new(credentials)))
    }
}

/// Parses the maximum wait for an answer.
pub(in crate::cli) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&time) => Ok(time),
        Ok(_) => Err("the allowed range is 1ms to 1h".to_owned()),
        Err(error) => Err(format!("{error}; write it as 500ms or 5s")),
    }
}

const MIN_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
