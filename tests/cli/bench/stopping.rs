//! Ctrl-C.

use super::line_server::{Action, LineServer};
use super::{assert_code, bench, parse};
use crate::common::{Process, eventually};

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
