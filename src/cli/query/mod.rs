//! Queries of operators to a running herd: `status`, `verify`, `locate`, `nearby`,
//! `watch`, and the transfer of reports: `export`, `import`.
//!
//! Each command calls the gRPC service `Operator` on the peer ports of the servers, of
//! all servers at once: a server that is down or hangs neither delays nor hides the
//! others.
//!
//! | file | contents |
//! |---|---|
//! | `targets` | arguments: servers, time limit, certificate |
//! | `units` | arguments: points, distances, circles |
//! | `fan_out` | the first server that answers |
//! | `terminal` | standard output: colours, and readers that leave early |
//! | `format` | spans, distances and numbers for people |
//! | `json` | the form of what `--json` prints |
//! | `outcome` | the exit codes |
//!
//! An address may belong to another herd by now, so the identity of a server is checked
//! before its answers are used. Its answers are text from the network, and are escaped
//! before they reach a terminal.
//!
//! Only an import changes anything in a herd.

mod export;
mod fan_out;
mod format;
mod import;
pub(super) mod json;
mod locate;
mod nearby;
mod outcome;
mod status;
mod targets;
mod terminal;
mod units;
mod verify;
mod watch;

use std::process::ExitCode;

use tokio::runtime::Builder;

use crate::threads;

use outcome::{CommandError, Outcome};
use targets::Targets;
pub(super) use targets::parse_timeout;
use terminal::Screen;

/// Number of worker threads. A query waits for the network most of the time.
const WORKERS: usize = 2;

/// Number of threads beside the workers: printing, the reader of standard output, lookups of
/// names, and standard error.
const OTHER_THREADS: usize = 4;

/// The queries. Their help stands at their arguments.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Query {
    Status(status::StatusArguments),
    Verify(verify::VerifyArguments),
    Locate(locate::LocateArguments),
    Nearby(nearby::NearbyArguments),
    Watch(watch::WatchArguments),
    Export(export::ExportArguments),
    Import(import::ImportArguments),
}

impl Query {
    /// Runs the query, prints its answer or error, and returns the exit code.
    pub(super) fn run(self) -> ExitCode {
        let is_json = self.targets().json;
        match self.answer() {
            Ok(outcome) => outcome.code(),
            Err(error) => {
                if is_json {
                    super::print_json_error(error.error());
                }
                super::print_error(error.error());
                error.code()
            }
        }
    }

    fn targets(&self) -> &Targets {
        match self {
            Self::Status(arguments) => &arguments.targets,
            Self::Verify(arguments) => &arguments.targets,
            Self::Locate(arguments) => &arguments.targets,
            Self::Nearby(arguments) => &arguments.targets,
            Self::Watch(arguments) => &arguments.targets,
            Self::Export(arguments) => &arguments.targets,
            Self::Import(arguments) => &arguments.targets,
        }
    }

    fn answer(self) -> Result<Outcome, CommandError> {
        threads::check(WORKERS + OTHER_THREADS)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()?;
        let screen = Screen::stdout();
        let outcome = runtime.block_on(async {
            match self {
                Self::Status(arguments) => status::run(arguments, &screen).await,
                Self::Verify(arguments) => verify::run(arguments, &screen).await,
                Self::Locate(arguments) => locate::run(arguments, &screen).await,
                Self::Nearby(arguments) => nearby::run(arguments, &screen).await,
                Self::Watch(arguments) => watch::run(arguments, &screen).await,
                Self::Export(arguments) => export::run(arguments).await,
                Self::Import(arguments) => import::run(arguments, &screen).await,
            }
        });
        // Does not wait for a name that is still being resolved, nor for a reader that
        // takes nothing.
        runtime.shutdown_background();
        outcome
    }
}
