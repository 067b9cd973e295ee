//! Servers that do wrong, and what is told of it.

use super::liner::{Does, Liner};
use super::{assert_code, measure, run};

/// A load of a known number of requests: 20 that introduce clients, 400 more.
const LOAD: &str = "--requests 400 --warmup 0 --clients 20 --connections 4 --timeout 0.5";

/// Runs the load against a server that does something else with its 100th line.
fn with_one(does: &Does, more: &str) -> (serde_json::Value, crate::common::Ended) {
    let does = does.clone();
    let liner = Liner::start(move |line, _| match line {
        100 => does.clone(),
        _ => Does::Right,
    });
    measure(&[&liner.address], &format!("{LOAD} {more}"))
}

#[track_caller]
fn assert_faults(told: &serde_json::Value, wrong: u64, missing: u64, unexpected: u64, broken: u64) {
    let faults = &told["faults"];
    assert_eq!(faults["wrong"], wrong, "{faults}");
    assert_eq!(faults["missing"], missing, "{faults}");
    assert_eq!(faults["unexpected"], unexpected, "{faults}");
    assert_eq!(faults["broken"], broken, "{faults}");
    assert_eq!(told["good"], wrong + missing + unexpected + broken == 0);
}

#[test]
fn right_answers_are_no_faults() {
    let (told, ended) = with_one(&Does::Right, "--whatsat 50 --verify");
    assert_code(&ended, 0);
    assert_faults(&told, 0, 0, 0, 0);
    assert_eq!(told["load"]["all"]["answered"], 400);
    assert_eq!(told["settled"]["servers"][0]["lacking"], 0);
}

#[test]
fn a_wrong_answer_is_counted_and_shown() {
    for (does, words) in [
        (Does::Says("AT Liner +0.000000001 kiwi +1+1 1\n"), "fields"),
        (Does::Says("\n"), "that is no AT line"),
        (Does::Refuses, "invalid command"),
    ] {
        let (told, ended) = with_one(&does, "");
        assert_code(&ended, 1);
        assert_faults(&told, 1, 0, 0, 0);
        assert_eq!(told["load"]["all"]["answered"], 399);
        let example = told["faults"]["examples"][0].as_str().unwrap();
        assert!(example.contains(words), "{example}");
        assert_eq!(ended.stderr, "error: 1 answers were wrong\n");
    }
}

#[test]
fn places_that_are_no_places_are_wrong() {
    let liner = Liner::start(|line, text| match text.starts_with("WHATSAT") {
        true if line % 2 == 0 => Does::Says("AT Liner +0.000000001 x +1+1 1\n{}\n\n"),
        true => Does::Says("? no\n"),
        false => Does::Right,
    });
    let (told, ended) = measure(&[&liner.address], &format!("{LOAD} --whatsat 100"));
    assert_code(&ended, 1);
    assert_faults(&told, 400, 0, 0, 0);
}

#[test]
fn a_line_that_nobody_asked_for_is_unexpected() {
    let (told, ended) = with_one(&Does::SaysToo("hello\n"), "");
    assert_code(&ended, 1);
    assert_faults(&told, 0, 0, 1, 0);
}

#[test]
fn a_request_without_an_answer_is_missing_and_ends_its_connection() {
    let (told, ended) = with_one(&Does::Nothing, "");
    assert_code(&ended, 1);
    assert_faults(&told, 0, 1, 0, 1);
    let example = told["faults"]["examples"][0].as_str().unwrap();
    assert!(example.contains("had no answer for 0.5 s"), "{example}");
}

#[test]
fn a_connection_that_the_server_closes_is_broken_and_the_load_goes_on() {
    let (told, ended) = with_one(&Does::Closes, "");
    assert_code(&ended, 1);
    assert_faults(&told, 0, 1, 0, 1);
    assert_eq!(told["load"]["all"]["answered"], 399);
}

#[test]
fn a_server_that_closes_everything_ends_the_load() {
    let liner = Liner::start(|_, _| Does::Closes);
    let ended = run(&[&liner.address], "--connections 3 --seconds 1000");
    assert_code(&ended, 1);
    let words = "wrong 0, missing 192, unexpected 0, broken connections 3\n";
    assert!(ended.stdout.contains(words), "{ended:?}");
}

#[test]
fn an_unchecked_load_takes_any_line() {
    let liner = Liner::start(|_, _| Does::Says("x\n"));
    let (told, ended) = measure(&[&liner.address], &format!("{LOAD} --unchecked"));
    assert_code(&ended, 0);
    assert_faults(&told, 0, 0, 0, 0);
    assert_eq!(told["load"]["all"]["answered"], 400);
}

#[test]
fn reports_that_never_arrive_are_told() {
    let two = [
        Liner::start(|_, _| Does::Right),
        Liner::start(|_, _| Does::Right),
    ];
    let addresses = [&*two[0].address, &*two[1].address];
    let (told, ended) = measure(&addresses, LOAD);
    assert_code(&ended, 1);
    assert!(told["settled"]["everywhere_seconds"].is_null());
    // Each of them has those of its own clients.
    assert_eq!(told["settled"]["servers"][0]["lacking"], 10);
    assert_eq!(told["settled"]["servers"][1]["lacking"], 10);
    assert_eq!(
        ended.stderr,
        "error: 20 reports were not where they should be\n"
    );

    let (told, ended) = measure(&addresses, "--spread --requests 2 --timeout 0.2");
    assert_code(&ended, 1);
    assert_eq!(told["spread"]["late"], 2);
    assert!(
        ended
            .stderr
            .contains("2 reports were not everywhere in time")
    );
}
