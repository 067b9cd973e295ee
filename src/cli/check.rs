//! `proxyherd check`.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::config::Config;
use crate::places::Places;

/// Reads the config, and the operator's own places if it names some, and
/// prints how it was understood. Fails where a server would not start.
pub(super) fn check(path: &Path) -> Result<(), Box<dyn Error>> {
    let config = Config::load(path)?;
    Places::start(&config.places)?;
    match writeln!(io::stdout(), "{}", config.explain().trim_end()) {
        // The config is what it is, whether or not its reader stayed to the end.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    let everyone: Vec<_> = config.servers.iter().collect();
    Ok(config.check_exposure(&everyone)?)
}
