//! `proxyherd bench`.

use std::error::Error;
use std::path::Path;

use crate::bench::{self, BenchError, BenchSettings};
use crate::config::{Config, ServerConfig};
use crate::model::address::Address;

use super::{misuse, print_json_error};

pub(super) use crate::bench::BenchArguments;

/// Measures the servers of the arguments, or those of the config. Exits with 2 if the
/// arguments contradict each other.
pub(super) fn bench(path: &Path, arguments: &BenchArguments) -> Result<(), Box<dyn Error>> {
    let servers = match arguments.servers.as_slice() {
        [] => configured(&Config::load(path)?)?,
        named => named.to_vec(),
    };
    let settings = BenchSettings::new(arguments, servers);
    let settings = settings.unwrap_or_else(|message| misuse("bench", message));
    let ended = bench::run(&settings);
    if let Err(error) = &ended
        && settings.is_json()
        && !matches!(error, BenchError::Faulty(_))
    {
        print_json_error(error);
    }
    Ok(ended?)
}

/// Returns the addresses of all servers for clients.
fn configured(config: &Config) -> Result<Vec<Address>, String> {
    let way_out = "give the addresses that its process printed with --server";
    let address = |server: &ServerConfig| {
        config.check_known(server, &server.clients, way_out)?;
        Ok(server.clients.clone())
    };
    config.servers.iter().map(address).collect()
}
