//! `proxyherd plan`: writes the config of a new herd.
//!
//! | file | contents |
//! |---|---|
//! | `names` | arguments: names, ranges of names, zones |
//! | `addresses` | arguments: addresses of all servers as one pattern |
//! | `file` | the config as text |

mod addresses;
mod file;
mod names;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::config::{Config, MAX_SERVERS, parse_path};
use crate::model::name::Name;
use crate::output::PatientWriter;
use crate::topology::{MAX_SURVIVED, design};

use super::{misuse, print};
use addresses::AddressPattern;
use file::Plan;
use names::{Names, Zone};

/// Write the config of a new herd, with links that survive the loss of servers
///
/// The links are as few as possible for a herd that stays connected whichever servers are lost,
/// and chosen for few hops between any two. The same arguments give the same file.
///
/// The file is written to standard output, and what the links cost and survive to standard
/// error; `proxyherd check` prints that for any config.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct PlanArguments {
    /// The servers: names, or ranges of names such as 'edge-{1..12}'
    #[arg(value_name = "NAME", required_unless_present = "zones")]
    names: Vec<Names>,
    /// The servers of a zone, such as 'west=a,b,c' or 'west=west-{1..4}'; may be repeated. Most
    /// links are within a zone, and the loss of a whole zone splits nothing
    #[arg(long = "zone", value_name = "ZONE=NAME,...")]
    zones: Vec<Zone>,
    /// Number of servers whose loss must not split the others, whichever they are
    #[arg(long, value_name = "K", default_value = "2", value_parser = survive)]
    survive: usize,
    /// The name of the herd
    #[arg(long, value_name = "NAME", default_value = "edge", value_parser = names::name)]
    herd: Name,
    /// The addresses for clients: {name} stands for the name of a server, and a + after the port
    /// gives each server the next one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:12000+")]
    clients: AddressPattern,
    /// The addresses for neighbours, in the same form
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:13000+")]
    peers: AddressPattern,
    /// The addresses of the web ports, in the same form; without it there are none
    #[arg(long, value_name = "HOST:PORT")]
    web: Option<AddressPattern>,
    /// The host to listen on, such as 0.0.0.0, if it differs from the hosts of the addresses
    #[arg(long, value_name = "HOST", value_parser = addresses::host)]
    bind: Option<String>,
    /// The file to write; it must not exist
    #[arg(short, long, value_name = "FILE", value_parser = parse_path)]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  proxyherd plan Riley Jaquez Juzang Campbell Bernard
  proxyherd plan 'edge-{1..12}' --peers '{name}.example.org:13000' \\
      --clients '{name}.example.org:12000' --bind 0.0.0.0 -o herd.toml
  proxyherd plan --zone 'west=w-{1..4}' --zone 'east=e-{1..4}' --survive 1";

fn survive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(survive) if (1..=MAX_SURVIVED).contains(&survive) => Ok(survive),
        _ => Err(format!("the allowed range is 1 to {MAX_SURVIVED}")),
    }
}

/// Writes the config, and prints what its links cost and survive.
pub(super) fn plan(arguments: &PlanArguments) -> Result<(), Box<dyn Error>> {
    let servers = servers(arguments);
    let zones: Vec<usize> = servers.iter().map(|(_, zone)| *zone).collect();
    let plan = Plan {
        arguments,
        graph: design(&zones, arguments.survive),
        servers,
    };
    let text = plan
        .text()
        .unwrap_or_else(|message| misuse("plan", message));
    let path = arguments.output.as_deref().unwrap_or(Path::new("plan"));
    // What is written can be read.
    let config = Config::parse(&text, path)?;
    match &arguments.output {
        Some(path) => {
            write_new(path, &text)?;
            print(&config.summary())?;
        }
        None => {
            print(&text)?;
            PatientWriter(io::stderr()).write_all(config.summary().as_bytes())?;
        }
    }
    Ok(())
}

/// Returns the servers with the numbers of their zones, in the order of the arguments. Those that
/// no zone names are a zone of their own.
fn servers(arguments: &PlanArguments) -> Vec<(Name, usize)> {
    let outside = arguments.names.iter().flat_map(|names| &names.0);
    let outside = outside.map(|name| (name.clone(), arguments.zones.len()));
    let zones = arguments.zones.iter().enumerate();
    let inside = zones.flat_map(|(number, zone)| zone.servers.iter().map(move |it| (it, number)));
    let inside = inside.map(|(name, number)| (name.clone(), number));
    let servers: Vec<_> = inside.chain(outside).collect();
    if servers.len() > MAX_SERVERS {
        misuse("plan", format!("a herd has at most {MAX_SERVERS} servers"));
    }
    let mut names: Vec<_> = servers
        .iter()
        .map(|(name, _)| name.as_str().to_lowercase())
        .collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!(
            "the name {} is given twice; name each server once",
            twice[0]
        );
        misuse("plan", message);
    }
    servers
}

/// Writes a file that does not exist yet.
fn write_new(path: &Path, text: &str) -> Result<(), String> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => format!(
            "{} exists already, and is not overwritten; remove it, or name another file",
            path.display()
        ),
        _ => format!("cannot write {}: {error}", path.display()),
    })
}
