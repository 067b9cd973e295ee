//! Faults of servers, and their description in the results.

use super::line_server::{Action, LineServer};
use super::{assert_code, measure, run};
use crate::common::Ended;

/// A load of a known number of requests: a preload of 20, then 400.
const LOAD: &str = "--requests 400 --warmup 0 --clients 20 --connections 4";

/// A limit that only a server that never answers exceeds.
const LONG_TIMEOUT: &str = "--timeout 30";

/// Runs the load against a server that reacts to its 100th line with `action`.
fn measure_with(action: &Action, arguments: &str) -> (serde_json::Value, Ended) {
    let action = action.clone();
    let server = LineServer::start(move |line, _| match line {
        100 => action.clone(),
        _ => Action::Answer,
    });
    measure(&[&server.address], &format!("{LOAD} {arguments}"))
}

#[track_caller]
fn assert_faults(
    report: &serde_json::Value,
    wrong: u64,
    missing: u64,
    unexpected: u64,
    broken: u64,
) {
    let faults = &report["faults"];
    assert_eq!(faults["wrong"], wrong, "{faults}");
    assert_eq!(faults["missing"], missing, "{faults}");
    assert_eq!(faults["unexpected"], unexpected, "{faults}");
    assert_eq!(faults["broken"], broken, "{faults}");
    assert_eq!(report["good"], wrong + missing + unexpected + broken == 0);
}

#[test]
fn correct_answers_are_no_faults() {
    let arguments = format!("--whatsat 50 --verify {LONG_TIMEOUT}");
    let (report, output) = measure_with(&Action::Answer, &arguments);
    assert_code(&output, 0);
    assert_faults(&report, 0, 0, 0, 0);
    assert_eq!(report["load"]["all"]["answered"], 400);
    assert_eq!(report["convergence"]["servers"][0]["missing"], 0);
}

#[test]
fn a_wrong_answer_is_counted_and_described() {
    for (action, error) in [
        (
            Action::Send("AT Server +0.000000001 kiwi +1+1 1\n"),
            "fields",
        ),
        (Action::Send("\n"), "not an AT line"),
        (Action::Reject, "rejected as invalid"),
    ] {
        let (report, output) = measure_with(&action, LONG_TIMEOUT);
        assert_code(&output, 1);
        assert_faults(&report, 1, 0, 0, 0);
        assert_eq!(report["load"]["all"]["answered"], 399);
        let example = report["faults"]["examples"][0].as_str().unwrap();
        assert!(example.contains(error), "{example}");
        assert_eq!(output.stderr, "error: 1 wrong answer\n");
    }
}

#[test]
fn malformed_places_are_wrong() {
    let server = LineServer::start(|line, text| {
        if !text.starts_with("WHATSAT") {
            Action::Answer
        } else if line % 2 == 0 {
            Action::Send("AT Server +0.000000001 x +1+1 1\n{}\n\n")
        } else {
            Action::Send("? no\n")
        }
    });
    let arguments = format!("{LOAD} --whatsat 100 {LONG_TIMEOUT}");
    let (report, output) = measure(&[&server.address], &arguments);
    assert_code(&output, 1);
    assert_faults(&report, 400, 0, 0, 0);
}

#[test]
fn a_line_without_a_request_is_unexpected() {
    let (report, output) = measure_with(&Action::AnswerAndSend("hello\n"), LONG_TIMEOUT);
    assert_code(&output, 1);
    assert_faults(&report, 0, 0, 1, 0);
}

#[test]
fn an_unanswered_request_is_missing_and_ends_its_connection() {
    // Long enough for the other requests on a busy machine.
    let (report, output) = measure_with(&Action::Ignore, "--timeout 5");
    assert_code(&output, 1);
    assert_faults(&report, 0, 1, 0, 1);
    let example = report["faults"]["examples"][0].as_str().unwrap();
    assert!(example.contains("no answer within 5 s"), "{example}");
}

#[test]
fn a_closed_connection_is_broken_and_the_load_continues() {
    let (report, output) = measure_with(&Action::Close, LONG_TIMEOUT);
    assert_code(&output, 1);
    assert_faults(&report, 0, 1, 0, 1);
    assert_eq!(report["load"]["all"]["answered"], 399);
}

#[test]
fn a_server_that_closes_every_connection_ends_the_load() {
    let server = LineServer::start(|_, _| Action::Close);
    let output = run(&[&server.address], "--connections 3 --seconds 1000");
    assert_code(&output, 1);
    let faults = "wrong 0, missing 192, unexpected 0, broken connections 3\n";
    assert!(output.stdout.contains(faults), "{output:?}");
}

#[test]
fn an_unchecked_load_accepts_any_line() {
    let server = LineServer::start(|_, _| Action::Send("x\n"));
    let arguments = format!("{LOAD} --unchecked {LONG_TIMEOUT}");
    let (report, output) = measure(&[&server.address], &arguments);
    assert_code(&output, 0);
    assert_faults(&report, 0, 0, 0, 0);
    assert_eq!(report["load"]["all"]["answered"], 400);
}

#[test]
fn servers_that_share_nothing_have_missing_and_late_reports() {
    let servers = [(); 2].map(|()| LineServer::start(|_, _| Action::Answer));
    let addresses = [&*servers[0].address, &*servers[1].address];
    let (report, output) = measure(&addresses, &format!("{LOAD} --timeout 5"));
    assert_code(&output, 1);
    assert!(report["convergence"]["everywhere_seconds"].is_null());
    // Each server has the reports of its own clients.
    assert_eq!(report["convergence"]["servers"][0]["missing"], 10);
    assert_eq!(report["convergence"]["servers"][1]["missing"], 10);
    assert_eq!(output.stderr, "error: 20 missing reports\n");

    let (report, output) = measure(&addresses, "--spread --requests 2 --timeout 2");
    assert_code(&output, 1);
    assert_eq!(report["spread"]["late"], 2);
    assert!(output.stderr.contains("2 late reports"), "{output:?}");
}
