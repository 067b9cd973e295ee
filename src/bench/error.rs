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
    /// A signal ended the run before anything was measured.
    Stopped,
    /// The results could not be printed.
    Print(io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { server, error } => write!(
                f,
                "cannot connect to {server}: {error}; start the herd of the config with \
                 `proxyherd up`, or select another server with --server HOST:PORT"
            ),
            Self::System(error) => write!(f, "cannot generate the load: {error}"),
            Self::Faulty(summary) => f.write_str(summary),
            Self::Stopped => f.write_str("stopped before anything was measured"),
            Self::Print(error) => write!(f, "cannot print the results: {error}"),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
