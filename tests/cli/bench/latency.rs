//! The start of a latency, in an open-loop load.
//!
//! The bounds are lower ones: a busy machine only adds to a latency.

use std::time::Duration;

use super::line_server::{Action, LineServer};
use super::{assert_code, measure};

/// The time in which the server answers no line.
const STALL: Duration = Duration::from_millis(500);

/// The longest that a request may take on a busy machine.
const TIMEOUT: &str = "--timeout 30";

/// Starts a server that stalls once, at its 200th line.
fn start_stalling_server() -> LineServer {
    LineServer::start(|line, _| match line {
        200 => Action::AnswerAfter(STALL),
        _ => Action::Answer,
    })
}

#[test]
fn requests_that_are_due_in_a_stall_wait_for_its_end() {
    // With a pipeline that holds back requests during the stall, and with one that does not.
    for pipeline in [4, 1000] {
        let server = start_stalling_server();
        let arguments = format!(
            "--rate 500 --seconds 2 --warmup 0 --clients 10 --connections 1 \
             --pipeline {pipeline} {TIMEOUT}"
        );
        let (report, output) = measure(&[&server.address], &arguments);
        assert_code(&output, 0);
        let load = &report["load"];
        assert_eq!(load["all"]["latency_us"]["count"], 1000);
        // A quarter of a thousand requests are due in the stall, one every two milliseconds.
        // The first of them waits for all of it, the last for none.
        for (key, millis) in [("max", 500.0), ("p99", 475.0), ("p90", 290.0)] {
            let micros = load["all"]["latency_us"][key].as_f64().unwrap();
            assert!(micros >= millis * 1e3, "{key}: {load}");
        }
    }
}

#[test]
fn a_load_that_cannot_keep_its_rate_reports_unsent_requests() {
    let server = LineServer::start(|line, _| match line {
        10.. => Action::AnswerAfter(Duration::from_millis(20)),
        _ => Action::Answer,
    });
    let arguments = format!(
        "--rate 500 --seconds 1 --warmup 0 --clients 10 --connections 1 --pipeline 1 {TIMEOUT}"
    );
    let (report, output) = measure(&[&server.address], &arguments);
    assert_code(&output, 0);
    let load = &report["load"];
    let sent = load["all"]["sent"].as_u64().unwrap();
    let unsent = load["unsent"].as_u64().unwrap();
    assert_eq!(sent + unsent, 500, "{load}");
    assert!(unsent >= 440, "{load}");
    // Unsent requests count with their wait: half of them with about half of the second.
    let median = load["all"]["latency_us"]["p50"].as_f64().unwrap();
    assert!(median > 300_000.0, "{load}");
}
