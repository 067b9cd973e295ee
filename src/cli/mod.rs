//! The command line.

mod bench;
mod certs;
mod check;
mod files;
mod healthcheck;
mod plan;
mod plans;
mod query;
mod reload;
mod run;
mod service_manager;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Parser, Subcommand};

use crate::bench::NOTES;
use crate::config::default_path;
use crate::{log, output, signals};

/// An application server herd: an eventually consistent store of the last known position
/// of mobile clients, replicated between servers over gRPC.
#[derive(Debug, Parser)]
#[command(name = "proxyherd", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run every server of the herd in this process
    Up {
        #[command(flatten)]
        config: ConfigPath,
        #[command(flatten)]
        start: StartArguments,
    },
    /// Run one server of the herd
    Serve {
        /// The server's name in the config
        name: String,
        #[command(flatten)]
        config: ConfigPath,
        #[command(flatten)]
        start: StartArguments,
    },
    /// Write the config of a new herd, with links that survive the loss of servers
    Plan(Box<plan::PlanArguments>),
    /// Make what a herd needs for TLS: a CA and a certificate for each server
    ///
    /// Existing files stay, and their state is printed. Private keys are never
    /// overwritten.
    Certs(certs::CertsArguments),
    /// Check the config and the files that it names, and print the herd that it describes
    ///
    /// Fails where `serve` would not start a server. Ports, host names and the directory of the
    /// logs are not tried, and certificates and keys of other machines are not read.
    Check {
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Check whether servers serve on this machine, as a container's health check does
    ///
    /// Asks each server at its listening address for neighbours, with its own certificate if
    /// the herd uses TLS. Links that are down are no failure. Exit codes: 0 all serve; 1 one
    /// does not, or the config is invalid; 2 a mistake on the command line.
    Healthcheck {
        #[command(flatten)]
        arguments: healthcheck::HealthcheckArguments,
        #[command(flatten)]
        config: ConfigPath,
    },
    /// Measure a herd, or any servers of the line protocol, under load
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
    /// The config file, - for standard input [env: PROXYHERD_CONFIG]
    #[arg(long = "config", global = true, value_name = "FILE", default_value_os_t = default_path())]
    path: PathBuf,
}

#[derive(Debug, clap::Args)]
struct StartArguments {
    /// Print the addresses as one line of JSON once the servers run, and nothing else
    #[arg(long)]
    json: bool,
}

/// Runs the command line. The exit code is 0 for success, 1 for a failure, 2 for a
/// mistake on the command line.
pub fn main() -> ExitCode {
    let code = match signals::end_first_process() {
        Ok(()) => {
            let parsed = CommandLine::try_parse();
            run(parsed
                .unwrap_or_else(|error| with_hint(error).exit())
                .command)
        }
        Err(error) => code(Err(format!("cannot handle signals: {error}").into())),
    };
    log::flush_terminal();
    code
}

/// Returns the description of the command line, from which man pages are made.
pub fn command() -> Command {
    CommandLine::command()
}

fn run(command: CliCommand) -> ExitCode {
    match command {
        CliCommand::Up { config, start } => code(run::up(&config.path, start.json)),
        CliCommand::Serve {
            name,
            config,
            start,
        } => code(run::serve(&name, &config.path, start.json)),
        CliCommand::Plan(arguments) => code(plan::plan(&arguments)),
        CliCommand::Certs(arguments) => code(certs::certs(&arguments)),
        CliCommand::Check { config } => code(check::check(&config.path)),
        CliCommand::Healthcheck { config, arguments } => {
            code(healthcheck::healthcheck(&config.path, &arguments))
        }
        CliCommand::Bench { config, arguments } => code(bench::bench(&config.path, &arguments)),
        CliCommand::Query(query) => query.run(),
    }
}

/// Adds how to write a value that begins with a hyphen, such as a client ID, after an option. For
/// values of their own, the error has a hint already.
fn with_hint(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let is_value = argument.starts_with('-') && !argument.starts_with("--");
    if error.kind() == ErrorKind::UnknownArgument
        && is_value
        && error.get(ContextKind::Suggested).is_none()
    {
        let hint = format!(
            "to pass '{argument}' as the value of an option, write '=' between them, as in \
             '--OPTION={argument}'"
        );
        let hint = ContextValue::StyledStrs(vec![hint.into()]);
        error.insert(ContextKind::Suggested, hint);
    }
    error
}

/// Rejects arguments of a command that contradict each other, and exits.
fn misuse(command: &str, message: impl std::fmt::Display) -> ! {
    let mut program = CommandLine::command();
    program.build();
    let command = program.find_subcommand_mut(command);
    let command = command.expect("it is a command");
    command.error(ErrorKind::ValueValidation, message).exit()
}

/// Prints an error, if there is one, and returns the exit code.
fn code(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// Prints an error to standard error, each of its lines escaped: a path may hold any
/// character.
fn print_error(error: &dyn Error) {
    let mut text = b"error: ".to_vec();
    for line in error.to_string().lines() {
        log::escape_into(&mut text, line.as_bytes());
        text.push(b'\n');
    }
    log::print_to_terminal(&text);
}

/// Prints a text to standard output. A reader that leaves early is no error.
fn print(text: &str) -> io::Result<()> {
    output::print(text).map(drop)
}

/// Prints an error to standard output, for a program that reads JSON.
fn print_json_error(error: &dyn Error) {
    let text = query::json::pretty(&serde_json::json!({ "error": error.to_string() }));
    // It is on standard error too.
    let _ = print(&text);
}
