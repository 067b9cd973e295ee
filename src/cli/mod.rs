//! What a person types.

mod certs;
mod check;
mod run;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    let done = match Arguments::parse().command {
        Command::Up { config } => run::up(&config.path),
        Command::Serve { name, config } => run::serve(&name, &config.path),
        Command::Certs(arguments) => certs::certs(&arguments),
        Command::Check { config } => check::check(&config.path),
    };
    if let Err(error) = &done {
        tell(error.as_ref());
    }
    log::finish_telling();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says what went wrong, each of its lines escaped: a path may hold anything.
fn tell(error: &dyn Error) {
    let mut text = b"error: ".to_vec();
    for line in error.to_string().lines() {
        log::escape_into(&mut text, line.as_bytes());
        text.push(b'\n');
    }
    log::tell(&text);
}
