//! `proxyherd bench`.

use std::error::Error;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::bench::{self, BenchError, BenchSettings};
use crate::config::Config;

use super::print_json_error;

pub(super) use crate::bench::BenchArguments;

/// Measures the servers of the arguments, or those of the config. Exits with 2 if the
/// arguments contradict each other.
pub(super) fn bench(path: &Path, arguments: &BenchArguments) -> Result<(), Box<dyn Error>> {
    let servers = match arguments.servers.as_slice() {
        [] => Config::load(path)?
            .servers
            .into_iter()
            .map(|server| server.clients)
            .collect(),
        named => named.to_vec(),
    };
    let settings = BenchSettings::new(arguments, servers).unwrap_or_else(|message| {
        let mut command = super::CommandLine::command();
        command.build();
        let bench = command.find_subcommand_mut("bench");
        let bench = bench.expect("it is a command");
        bench.error(ErrorKind::ValueValidation, message).exit()
    });
    let ended = bench::run(&settings);
    if let Err(error) = &ended
        && settings.is_json()
        && !matches!(error, BenchError::Faulty(_))
    {
        print_json_error(error);
    }
    Ok(ended?)
}
