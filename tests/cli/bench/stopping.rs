//! Signals, and readers that leave.

use std::io;
use std::process::Stdio;

use super::line_server::{Action, LineServer};
use super::{assert_code, bench, parse};
use crate::common::{BlackHole, Process, eventually};

/// A load that does not end by itself.
const LOAD: &str = "--seconds 1000 --warmup 0 --clients 10 --connections 2 --timeout 1000 --json";

#[test]
fn the_first_ctrl_c_ends_a_load_early_and_prints_the_results_so_far() {
    let servers = [(); 2].map(|()| LineServer::start(|_, _| Action::Answer));
    let addresses = [&*servers[0].address, &*servers[1].address];
    let process = Process::spawn(&mut bench(&addresses, LOAD));
    eventually("the load runs", || (servers[1].lines() > 200).then_some(()));
    process.signal("INT");
    let output = process.end();
    assert_code(&output, 0);
    let report = parse(&output);
    assert_eq!(report["stopped_early"], true);
    assert_eq!(report["good"], true);
    assert!(report["load"]["all"]["answered"].as_u64() > Some(100));
    // The servers share nothing, and the check of that is omitted.
    assert!(report["convergence"].is_null());
}

#[test]
fn the_second_ctrl_c_exits_immediately() {
    let server = LineServer::start(|line, _| match line {
        50.. => Action::Ignore,
        _ => Action::Answer,
    });
    let mut process = Process::spawn(&mut bench(&[&server.address], LOAD));
    eventually("both connections wait for an answer", || {
        (server.lines() >= 52).then_some(())
    });
    eventually("the process exits", || {
        process.signal("INT");
        (!process.is_running()).then_some(())
    });
    let output = process.end();
    assert_code(&output, 130);
    assert_eq!(output.stdout, "");
}

#[test]
fn a_signal_ends_a_run_that_waits_for_a_connection() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let hole = BlackHole::open("127.0.0.1:0".parse().unwrap());
    let process = Process::spawn(&mut bench(&[&hole.address.to_string()], LOAD));
    eventually("it dials", || {
        // The signal may arrive before the program handles it.
        let status = format!("/proc/{}/status", process.id());
        let status = std::fs::read_to_string(status).ok()?;
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & (1 << 14) != 0).then_some(())
    });
    process.signal("TERM");
    let output = process.end();
    assert_code(&output, 1);
    let report = parse(&output);
    assert_eq!(report["error"], "stopped before anything was measured");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let server = LineServer::start(|_, _| Action::Answer);
    let (_, gone) = io::pipe().unwrap();
    let mut command = bench(&[&server.address], "--requests 10 --warmup 0 --no-verify");
    command
        .stdin(Stdio::null())
        .stdout(gone)
        .stderr(Stdio::piped());
    let output = Process::spawn_with_streams(&mut command).end();
    assert_code(&output, 0);
    assert_eq!(output.stderr, "");
}
