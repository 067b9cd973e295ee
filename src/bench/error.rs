//! The errors of a measurement.

use std::{fmt, io};

use crate::model::address::Address;

/// An error that prevents a measurement, or a fault in its results.
#[derive(Debug)]
pub enum BenchError {
    /// A server is unreachable; nothing was measured.
    Connect {
        /// The server's address.
        server: Address,
        /// The system's error.
        error: io::Error,
    },
    /// Another system call failed; nothing was measured.
    System(io::Error),
    /// The printed results contain faults; the text summarizes them.
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
