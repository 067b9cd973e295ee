//! `proxyherd healthcheck`: whether servers serve on this machine.
//!
//! It asks each server for its status at the address on which it listens for neighbours, with the
//! certificate of the server itself: what a container or a machine of the herd has. Links that are
//! down are no failure, since a restart of this server does not mend them.

use std::error::Error;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;

use crate::config::{Config, ServerConfig};
use crate::format::list;
use crate::model::address::Address;
use crate::net::Resolver;
use crate::operator_client::{Identity, RemoteServer, statuses};
use crate::threads;
use crate::tls::Credentials;

use super::query::parse_timeout;

/// Number of threads: lookups of names, and standard error.
const THREADS: usize = 2;

#[derive(Debug, clap::Args)]
pub(super) struct HealthcheckArguments {
    /// Servers of the config that run on this machine; all of them if none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Maximum wait for an answer, such as 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    timeout: Duration,
}

/// Checks the servers, all at once.
///
/// # Errors
///
/// Names each server that does not serve, with the reason.
pub(super) fn healthcheck(
    path: &Path,
    arguments: &HealthcheckArguments,
) -> Result<(), Box<dyn Error>> {
    let config = Config::load(path)?;
    let servers: Vec<&ServerConfig> = if arguments.names.is_empty() {
        config.servers.iter().collect()
    } else {
        let names = arguments.names.iter();
        names
            .map(|name| config.server(name))
            .collect::<Result<_, _>>()?
    };
    threads::check(THREADS)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let checked = runtime.block_on(check(&config, &servers, arguments.timeout));
    // Does not wait for a name that is still being resolved.
    runtime.shutdown_background();
    checked
}

async fn check(
    config: &Config,
    servers: &[&ServerConfig],
    limit: Duration,
) -> Result<(), Box<dyn Error>> {
    let resolver = Resolver::system();
    let mut remote = Vec::new();
    for server in servers {
        remote.push(dial(config, server, &resolver, limit)?);
    }
    let (mut serving, mut failures) = (Vec::new(), String::new());
    for (server, status) in remote.iter().zip(statuses(&remote).await) {
        let name = server.title();
        let failure = match status {
            Ok(status) if !status.draining => {
                serving.push(name);
                continue;
            }
            Ok(_) => "it shuts down".to_owned(),
            Err(error) => error.to_string(),
        };
        let address = server.address();
        let _ = writeln!(failures, "{name} does not serve at {address}: {failure}");
    }
    if failures.is_empty() {
        let verb = if serving.len() == 1 {
            "serves"
        } else {
            "serve"
        };
        super::print(&format!("{} {verb}\n", list(&serving, "and")))?;
        return Ok(());
    }
    Err(failures.into())
}

/// Returns a server at the address on which it listens here.
fn dial(
    config: &Config,
    server: &ServerConfig,
    resolver: &Resolver,
    limit: Duration,
) -> Result<RemoteServer, Box<dyn Error>> {
    let files = config.tls.for_links_of(&server.name);
    let credentials = files.map(Credentials::of_operator).transpose()?;
    let identity = Identity {
        herd: config.herd.clone(),
        name: server.name.clone(),
    };
    let address = reachable(&server.bind_peers);
    let credentials = credentials.map(Arc::new);
    let remote = RemoteServer::dial(
        &address,
        resolver,
        Some(identity),
        credentials.as_ref(),
        limit,
    );
    Ok(remote?)
}

/// Returns the loopback address for one that stands for every address of the machine.
fn reachable(address: &Address) -> Address {
    let loopback: IpAddr = match address.ip() {
        Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.into(),
        Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.into(),
        _ => return address.clone(),
    };
    let local = SocketAddr::new(loopback, address.port());
    Address::parse(&local.to_string()).expect("a socket address is an address")
}
