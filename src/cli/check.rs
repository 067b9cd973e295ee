//! `proxyherd check`.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use crate::config::{Config, ServerConfig};
use crate::format::list;
use crate::places::Places;
use crate::server::{ServerCredentials, ServerPlan};

use super::plans::plans;
use super::{files, print};

/// What would need the machine, the network and the moment of the start.
const NOT_CHECKED: &str =
    "\nNot checked: whether ports are free, names resolve and logs can be written.\n";

/// Reads the config and the files that it names, and prints the herd as a server would run it.
/// Fails where a server would not start by `serve`; what it did not check, and what only `up`
/// would reject, is printed.
pub(super) fn check(path: &Path) -> Result<(), Box<dyn Error>> {
    let config = Config::load(path)?;
    let places = Places::start(&config.places)?;
    print(&config.explain())?;
    if let Some(file) = places.file() {
        print(&format!("{file}\n"))?;
    }
    let all: Vec<_> = config.servers.iter().collect();
    let mut errors = Vec::new();
    let mut add = |error: Box<dyn Error>| errors.push(error.to_string());
    if let Err(error) = config.check_exposure(&all) {
        add(error.into());
    }
    let max_files = files::raise_limit();
    for server in &all {
        if let Err(error) = plans(&config, &[server], max_files) {
            add(error.into());
        }
    }
    check_credentials(&config, &all, &mut add)?;
    print_rejected_by_serve(&config)?;
    if errors.is_empty() && all.len() > 1 {
        print_rejected_by_up(&config, &all, max_files)?;
    }
    // A herd shares most of its files.
    errors.dedup();
    if errors.is_empty() {
        Ok(print(NOT_CHECKED)?)
    } else {
        Err(errors.join("\n").into())
    }
}

/// Reads the certificates and keys of all servers. Those of other machines are not here.
fn check_credentials(
    config: &Config,
    all: &[&ServerConfig],
    add: &mut impl FnMut(Box<dyn Error>),
) -> Result<(), Box<dyn Error>> {
    let plans: Vec<_> = all.iter().map(|server| config.plan(server)).collect();
    let has_files = |plan: &&ServerPlan| own_files(plan).iter().any(|path| path.exists());
    let (here, elsewhere): (Vec<_>, Vec<_>) = plans.iter().partition(has_files);
    // Without any, this is no machine of the herd, or all are missing.
    let is_deployed = !here.is_empty();
    let checked = if is_deployed {
        here
    } else {
        plans.iter().collect()
    };
    let mut printed = BTreeSet::new();
    for plan in checked {
        match ServerCredentials::load(plan) {
            Ok(credentials) => {
                let warnings = credentials.warnings();
                let warnings = warnings.iter().map(|warning| format!("Warning: {warning}"));
                for line in credentials.contents().into_iter().chain(warnings) {
                    if printed.insert(line.clone()) {
                        print(&format!("{line}\n"))?;
                    }
                }
            }
            Err(error) => add(error.into()),
        }
    }
    let unchecked = elsewhere.iter().filter(|plan| !own_files(plan).is_empty());
    let unchecked: Vec<_> = unchecked.map(|plan| plan.name.as_str()).collect();
    if is_deployed && !unchecked.is_empty() {
        let names = list(unchecked, "and");
        print(&format!(
            "Not checked: the certificates and keys of {names}, which are not on this machine.\n"
        ))?;
    }
    Ok(())
}

/// Returns the files of certificates and keys that a server names.
fn own_files(plan: &ServerPlan) -> Vec<&PathBuf> {
    let links = plan.tls.iter().map(|files| &files.own);
    let clients = plan.clients_tls.iter().map(|(_, pair)| pair);
    let pairs = links.chain(clients);
    pairs
        .flat_map(|pair| [&pair.certificate, &pair.key])
        .collect()
}

/// Prints why the servers of the file can run in one process only.
fn print_rejected_by_serve(config: &Config) -> Result<(), Box<dyn Error>> {
    let servers = config.servers.iter();
    let errors = servers.filter_map(|server| config.check_ports(server).err());
    let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
    // Both ends of a link name a port.
    let lines: BTreeSet<&str> = errors.iter().flat_map(|error| error.lines()).collect();
    for line in lines {
        print(&format!("Not for `serve`, only for `up`: {line}\n"))?;
    }
    Ok(())
}

/// Prints why the servers of the file cannot run in one process, which those of several machines
/// need not.
fn print_rejected_by_up(
    config: &Config,
    all: &[&ServerConfig],
    max_files: Option<usize>,
) -> Result<(), Box<dyn Error>> {
    let overlaps = config
        .check_overlaps(all)
        .err()
        .map(|error| error.to_string());
    let too_few = plans(config, all, max_files)
        .err()
        .map(|error| error.to_string());
    for error in overlaps.into_iter().chain(too_few) {
        print(&format!("Not for `up`, only for `serve`: {error}\n"))?;
    }
    Ok(())
}
