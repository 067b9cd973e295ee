//! `proxyherd bench` against servers of this program, and against a server with deliberate
//! faults.

mod faults;
mod herd;
mod latency;
mod line_server;
mod mistakes;
mod stopping;

use std::process::Command;

use crate::common::{Ended, Process};
use serde_json::Value;

/// Returns the command `proxyherd bench` with these servers and arguments.
fn bench(servers: &[&str], arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyherd"));
    command.arg("bench").args(arguments.split_whitespace());
    for server in servers {
        command.args(["--server", server]);
    }
    command
}

fn run(servers: &[&str], arguments: &str) -> Ended {
    Process::run(&mut bench(servers, arguments))
}

/// Runs the command with `--json`. Returns the parsed JSON and the whole output.
fn measure(servers: &[&str], arguments: &str) -> (Value, Ended) {
    let output = run(servers, &format!("{arguments} --json"));
    (parse(&output), output)
}

#[track_caller]
fn parse(output: &Ended) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[track_caller]
fn assert_code(output: &Ended, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}
