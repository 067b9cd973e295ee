//! `proxyherd bench` as people and jobs meet it: against our servers, and
//! against one that does wrong on purpose.

mod faults;
mod herd;
mod latency;
mod liner;
mod mistakes;
mod stopping;

use std::process::Command;

use crate::common::{Ended, Process};
use serde_json::Value;

/// `proxyherd bench` with these words, aimed at these servers.
fn bench(servers: &[&str], words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyherd"));
    command.arg("bench").args(words.split_whitespace());
    for server in servers {
        command.args(["--server", server]);
    }
    command
}

fn run(servers: &[&str], words: &str) -> Ended {
    Process::run(&mut bench(servers, words))
}

/// Runs it with `--json`; gives that, and how it ended.
fn measure(servers: &[&str], words: &str) -> (Value, Ended) {
    let ended = run(servers, &format!("{words} --json"));
    (parse(&ended), ended)
}

#[track_caller]
fn parse(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[track_caller]
fn assert_code(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
}
