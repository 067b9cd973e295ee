//! Errors of the kit.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use crate::log::OpenError;
use crate::server::StartError;

use super::agreement::{Disagreement, DownLink, list_of};

/// The reason why a herd did not do what a test asked of it.
///
/// `Debug` prints the same text as `Display`, since that is what a test shows that unwraps it or
/// returns it.
pub enum TestkitError {
    /// The folder of the herd cannot be made. Nothing was started.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// No more threads or sockets for the herd. Nothing was started.
    Resources(io::Error),
    /// The log of a server cannot be opened. The server was not started.
    Log {
        /// The server.
        server: String,
        /// The error of the log.
        error: OpenError,
    },
    /// A server cannot start.
    Start {
        /// The server.
        server: String,
        /// The error of the server.
        error: StartError,
    },
    /// A client cannot connect to a server.
    Connect {
        /// The server.
        server: String,
        /// The error of the system.
        error: io::Error,
    },
    /// Links are down after the limit.
    LinksDown {
        /// The limit.
        limit: Duration,
        /// The links that are down.
        links: Vec<DownLink>,
    },
    /// Servers do not hold the same reports after the limit.
    Disagreement(Disagreement),
}

impl fmt::Display for TestkitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path, error } => {
                let path = path.display();
                write!(
                    f,
                    "cannot make the folder {path}: {error}; set TMPDIR to one with room"
                )
            }
            Self::Resources(error) => write!(
                f,
                "cannot start the herd: {error}; run fewer tests at once (--test-threads), or \
                 raise the limits on open files and processes (ulimit -n, ulimit -u)"
            ),
            Self::Log { server, error } => write!(f, "cannot start server {server}: {error}"),
            Self::Start { server, error } => write!(f, "cannot start server {server}: {error}"),
            Self::Connect { server, error } => write!(
                f,
                "cannot connect to server {server}: {error}; launch it, or use try_client if it \
                 may be down"
            ),
            Self::LinksDown { limit, links } => {
                write!(f, "links are down after {limit:?}: {}", list_of(links))
            }
            Self::Disagreement(disagreement) => disagreement.fmt(f),
        }
    }
}

impl fmt::Debug for TestkitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for TestkitError {}

/// Returns the value, and panics with the error at the line of the test if there is none.
#[track_caller]
pub(super) fn done<T>(result: Result<T, TestkitError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
