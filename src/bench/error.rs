//! Why a measurement failed.

use std::{fmt, io};

use crate::model::address::Address;

/// What kept a measurement from being made, or from being good.
#[derive(Debug)]
pub enum BenchError {
    /// A server could not be reached; nothing was measured.
    Connect {
        /// Where it should be.
        server: Address,
        /// What the system said.
        error: io::Error,
    },
    /// The system refused something else; nothing was measured.
    System(io::Error),
    /// The results are printed, and tell of faults; these words sum them up.
    Faulty(String),
    /// The results could not be printed.
    Print(io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { server, error } => write!(
                f,
                "no connection to {server}: {error}\nis the herd running? `proxyherd up` starts \
                 that of the config, and --server HOST:PORT aims at another server"
            ),
            Self::System(error) => write!(f, "the load can not be made: {error}"),
            Self::Faulty(words) => f.write_str(words),
            Self::Print(error) => write!(f, "the results can not be printed: {error}"),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
