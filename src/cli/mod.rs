//! What a person types.

mod bench;
mod certs;
mod check;
mod files;
mod plans;
mod query;
mod reload;
mod run;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::NOTES;
use crate::config::DEFAULT_PATH;
use crate::log;

/// An application server herd: clients report where they are in lines of text,
/// servers flood it to their neighbours over gRPC, any server answers what is
/// near.
#[derive(Debug, Parser)]
#[command(name = "proxyherd", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every server of the herd in this process
    Up {
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Run one server of the herd
    Serve {
        /// The server's name in the config
        name: String,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Make what a herd needs for TLS: a CA and a certificate for each server
    ///
    /// What is there already stays as it is, and is told. Private keys are never
    /// overwritten.
    Certs(certs::Arguments),
    /// Say whether the config is right, and how it was understood
    Check {
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Load a herd, or any servers of the line protocol, and measure them
    #[command(after_long_help = NOTES)]
    Bench {
        #[command(flatten)]
        config: ConfigPath,
        #[command(flatten)]
        arguments: Box<bench::BenchArguments>,
    },
    #[command(flatten)]
    Query(query::Query),
}

#[derive(Debug, clap::Args)]
struct ConfigPath {
    /// The file that describes the herd
    #[arg(long = "config", global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    path: PathBuf,
}

/// Does what the command line asks. Exits with 0 if that went well, 1 if it did
/// not, 2 if the command line makes no sense.
pub fn main() -> ExitCode {
    let code = match Arguments::parse().command {
        Command::Up { config } => code(run::up(&config.path)),
        Command::Serve { name, config } => code(run::serve(&name, &config.path)),
        Command::Certs(arguments) => code(certs::certs(&arguments)),
        Command::Check { config } => code(check::check(&config.path)),
        Command::Bench { config, arguments } => code(bench::bench(&config.path, &arguments)),
        Command::Query(query) => query.run(),
    };
    log::finish_telling();
    code
}

/// Tells what went wrong, if something did.
fn code(done: Result<(), Box<dyn Error>>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// Says what went wrong, each of its lines escaped: a path may hold anything.
fn print_error(error: &dyn Error) {
    let mut text = b"error: ".to_vec();
    for line in error.to_string().lines() {
        log::escape_into(&mut text, line.as_bytes());
        text.push(b'\n');
    }
    log::tell(&text);
}
