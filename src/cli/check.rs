//! `proxyherd check`.

use std::error::Error;
use std::path::Path;

use crate::config::Config;
use crate::places::Places;

use super::print;

/// Reads the config, and the places file if it names one, and prints the herd as a
/// server would run it. Fails where a server would not start.
pub(super) fn check(path: &Path) -> Result<(), Box<dyn Error>> {
    let config = Config::load(path)?;
    let places = Places::start(&config.places)?;
    print(&config.explain())?;
    if let Some(file) = places.file() {
        print(&format!("{file}\n"))?;
    }
    let all: Vec<_> = config.servers.iter().collect();
    Ok(config.check_exposure(&all)?)
}
