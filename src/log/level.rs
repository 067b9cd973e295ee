//! The levels of a log.

use std::fmt;
use std::str::FromStr;

use crate::format::list;

/// The level of events that a log holds; the transcript is written at every level except
/// [`Level::Off`]. Each level includes the events of the levels before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No log file and no transcript: callers use [`Log::off`](super::Log::off).
    Off,
    /// Events that need attention now.
    Error,
    /// Events that may need attention later.
    Warn,
    /// The work of a server: connections, links, rejections.
    #[default]
    Info,
    /// Details that help to find a fault, including those of libraries.
    Debug,
    /// Every event in the process: costs a good part of the throughput.
    Trace,
}

impl Level {
    /// All levels, in order.
    pub const ALL: [Level; 6] = [
        Level::Off,
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];

    /// Returns its name in configs.
    pub fn name(self) -> &'static str {
        match self {
            Level::Off => "off",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    /// Parses a name, in lower case.
    fn from_str(name: &str) -> Result<Level, UnknownLevel> {
        let named = Level::ALL.into_iter().find(|level| level.name() == name);
        named.ok_or_else(|| UnknownLevel(name.to_owned()))
    }
}

/// The text that is not the name of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel(String);

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = list(Level::ALL.map(Level::name), "and");
        write!(f, "{:?} is no log level; the levels are {names}", self.0)
    }
}

impl std::error::Error for UnknownLevel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_to_their_level() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let error = "loud".parse::<Level>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"loud\" is no log level; the levels are off, error, warn, info, debug and trace"
        );
    }
}
