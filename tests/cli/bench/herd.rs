//! Against servers of ours.

use super::{assert_code, parse};
use crate::common::{CLASSIC, Process, Site, Topology};

const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

/// Keys that every time has.
const TIMES: [&str; 8] = ["count", "min", "mean", "p50", "p90", "p99", "p999", "max"];

#[test]
fn a_herd_bears_a_mixed_load_and_knows_every_report_everywhere() {
    let (site, _herd) = Site::up(PAIR, "");
    let words = "bench --requests 5000 --warmup 0.1 --clients 500 --connections 20 --pipeline 8 \
                 --whatsat 20 --threads 2 --json";
    let words: Vec<&str> = words.split_whitespace().collect();
    let ended = Process::run(&mut site.command(&words));
    assert_code(&ended, 0);
    assert_eq!(ended.stderr, "");

    let told = parse(&ended);
    assert_eq!(told["good"], true);
    assert_eq!(told["stopped_early"], false);
    let load = &told["load"];
    assert_eq!(load["all"]["sent"], 5000);
    assert_eq!(load["all"]["answered"], 5000);
    let of = |kind: &str| load[kind]["answered"].as_u64().unwrap();
    assert_eq!(of("iamat") + of("whatsat"), 5000);
    assert!((700..1300).contains(&of("whatsat")), "{load}");
    for key in TIMES {
        assert!(load["all"]["latency_us"][key].is_number(), "{key}: {load}");
    }
    let names: Vec<_> = (0..2).map(|n| load["servers"][n]["name"].clone()).collect();
    assert_eq!(names, ["Riley", "Jaquez"]);
    let settled = &told["settled"];
    assert_eq!(settled["clients"], 500);
    assert!(settled["everywhere_seconds"].is_number(), "{settled}");
    assert!(told["spread"].is_null());
    for fault in ["wrong", "missing", "unexpected", "broken"] {
        assert_eq!(told["faults"][fault], 0);
    }
}

#[test]
fn the_table_fits_a_terminal_of_eighty_columns() {
    let (site, _herd) = Site::up(CLASSIC, "");
    let words = "bench --seconds 0.3 --warmup 0.1 --clients 100 --whatsat 10 --spread --under-load";
    let words: Vec<&str> = words.split_whitespace().collect();
    let ended = Process::run(&mut site.command(&words));
    assert_code(&ended, 0);
    for line in ended.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for words in [
        "5 servers, 50 connections, pipeline 1, 100 clients",
        "\nIAMAT ",
        "\nWHATSAT ",
        "\nCampbell ",
        "p99.9",
        "\neverywhere ",
        "newest report of 100 clients: seen everywhere ",
        "wrong 0, missing 0, unexpected 0, broken connections 0",
    ] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
}

#[test]
fn the_spread_of_reports_is_told_for_each_server_and_for_all() {
    let (site, herd) = Site::up(PAIR, "");
    herd.await_stderr("Riley: link to Jaquez is up\n");
    herd.await_stderr("Jaquez: link to Riley is up\n");
    let words = ["bench", "--spread", "--requests", "40", "--json"];
    let ended = Process::run(&mut site.command(&words));
    assert_code(&ended, 0);
    let told = parse(&ended);
    assert!(told["load"].is_null() && told["settled"].is_null());
    let spread = &told["spread"];
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
