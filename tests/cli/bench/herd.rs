//! `proxyherd bench` against servers of this program.

use super::{assert_code, parse};
use crate::common::{CLASSIC, PAIR, Process, Site};

/// The keys of all latencies.
const LATENCY_KEYS: [&str; 8] = ["count", "min", "mean", "p50", "p90", "p99", "p999", "max"];

#[test]
fn a_herd_answers_a_mixed_load_and_converges() {
    let (site, _herd) = Site::up(PAIR, "");
    let arguments = "bench --requests 5000 --warmup 0.1 --clients 500 --connections 20 \
                     --pipeline 8 --whatsat 20 --threads 2 --timeout 30 --json";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = Process::run(&mut site.command(&arguments));
    assert_code(&output, 0);
    assert_eq!(output.stderr, "");

    let report = parse(&output);
    assert_eq!(report["good"], true);
    assert_eq!(report["stopped_early"], false);
    let load = &report["load"];
    assert_eq!(load["all"]["sent"], 5000);
    assert_eq!(load["all"]["answered"], 5000);
    let answered = |kind: &str| load[kind]["answered"].as_u64().unwrap();
    assert_eq!(answered("iamat") + answered("whatsat"), 5000);
    assert!((700..1300).contains(&answered("whatsat")), "{load}");
    for key in LATENCY_KEYS {
        assert!(load["all"]["latency_us"][key].is_number(), "{key}: {load}");
    }
    let names: Vec<_> = (0..2).map(|n| load["servers"][n]["name"].clone()).collect();
    assert_eq!(names, ["Riley", "Jaquez"]);
    let convergence = &report["convergence"];
    assert_eq!(convergence["clients"], 500);
    assert!(
        convergence["everywhere_seconds"].is_number(),
        "{convergence}"
    );
    assert!(report["spread"].is_null());
    for fault in ["wrong", "missing", "unexpected", "broken"] {
        assert_eq!(report["faults"][fault], 0);
    }
}

#[test]
fn the_tables_fit_a_terminal_of_eighty_columns() {
    let (site, _herd) = Site::up(CLASSIC, "");
    let arguments = "bench --seconds 0.3 --warmup 0.1 --clients 100 --whatsat 10 --spread \
                     --under-load --timeout 30";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = Process::run(&mut site.command(&arguments));
    assert_code(&output, 0);
    for line in output.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for text in [
        "5 servers, 50 connections, pipeline 1, 100 clients",
        "10% WHATSAT, closed loop, measured for ",
        "\nIAMAT ",
        "\nWHATSAT ",
        "\nCampbell ",
        "p99.9",
        "\neverywhere ",
        "newest report of 100 clients: at every server ",
        "wrong 0, missing 0, unexpected 0, broken connections 0",
    ] {
        assert!(output.stdout.contains(text), "{text}: {}", output.stdout);
    }
}

#[test]
fn the_spread_has_times_for_each_server_and_for_all() {
    let (site, herd) = Site::up(PAIR, "");
    herd.await_stderr("Riley: link to Jaquez is up\n");
    herd.await_stderr("Jaquez: link to Riley is up\n");
    let arguments = "bench --spread --requests 40 --timeout 30 --json";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = Process::run(&mut site.command(&arguments));
    assert_code(&output, 0);
    let report = parse(&output);
    assert!(report["load"].is_null() && report["convergence"].is_null());
    let spread = &report["spread"];
    assert_eq!(spread["reports"], 40);
    assert_eq!(spread["late"], 0);
    assert_eq!(spread["everywhere_us"]["count"], 40);
    assert!(spread["resolution_us"]["p50"].is_number());
    for (number, name) in ["Riley", "Jaquez"].iter().enumerate() {
        let server = &spread["servers"][number];
        assert_eq!(server["name"], *name);
        assert_eq!(server["us"]["count"], 20);
    }
}
