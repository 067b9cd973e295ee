//! What an operator asks of a herd that runs: `status`, `verify`, `locate`,
//! `nearby`, `watch`.
//!
//! Each command is one question, put to servers by the gRPC service `Operator`
//! on their peer ports, and to all of them side by side: one that is down or
//! hangs neither delays nor hides the others.
//!
//! | file | holds |
//! |---|---|
//! | `targets` | arguments: which servers, how long to wait |
//! | `units` | arguments: points, distances, circles |
//! | `server` | one server, and the calls to it |
//! | `failure` | why a server gave no answer |
//! | `fan_out` | one question to many servers at once |
//! | `known` | a report that a server knows, for people and for programs |
//! | `screen` | standard output: colour, and readers that leave |
//! | `table` | columns |
//! | `messages` | times, spans and numbers as people read them |
//! | `json` | what `--json` prints |
//! | `outcome` | the exit codes |
//!
//! A server is believed to be the one that the config names only once it has
//! said so: an address may have come to another herd since. What it sends is
//! text from the network, and is escaped before a terminal sees it.
//!
//! What this folder does not do: change anything in a herd.

mod failure;
mod fan_out;
mod json;
mod known;
mod locate;
mod messages;
mod nearby;
mod outcome;
mod screen;
mod server;
mod status;
mod table;
mod targets;
mod units;
mod verify;
mod watch;

use std::process::ExitCode;

use tokio::runtime::Builder;

use outcome::{CommandError, Outcome};
use screen::Screen;

/// The questions. What each does is told where its arguments are.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Query {
    Status(status::Arguments),
    Verify(verify::Arguments),
    Locate(locate::Arguments),
    Nearby(nearby::Arguments),
    Watch(watch::Arguments),
}

impl Query {
    /// Asks, prints the answer, and gives the code to exit with.
    pub(super) fn ask(self) -> ExitCode {
        let ended = self.put();
        if let Err(trouble) = &ended {
            super::tell(trouble.error());
        }
        ended.map_or_else(|trouble| trouble.code(), Outcome::code)
    }

    fn put(self) -> Result<Outcome, CommandError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let screen = Screen::stdout();
        let ended = runtime.block_on(async {
            match self {
                Self::Status(arguments) => status::run(arguments, &screen).await,
                Self::Verify(arguments) => verify::run(arguments, &screen).await,
                Self::Locate(arguments) => locate::run(arguments, &screen).await,
                Self::Nearby(arguments) => nearby::run(arguments, &screen).await,
                Self::Watch(arguments) => watch::run(arguments, &screen).await,
            }
        });
        // A name that is still being resolved, or a reader that takes nothing,
        // is not waited for.
        runtime.shutdown_background();
        ended
    }
}
