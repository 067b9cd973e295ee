//! The questions put to servers that run, each a process of its own, over plain
//! gRPC: what they say is true, and programs can read it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::operator::{run, run_json};
use crate::common::{Process, Site, Topology, eventually};

const THREE: Topology<'static> = (
    &["Riley", "Jaquez", "Juzang"],
    &[("Riley", "Jaquez"), ("Jaquez", "Juzang")],
);

/// Neither hears what the other is told.
const APART: Topology<'static> = (&["Riley", "Jaquez"], &[]);

/// A client says where it is, now. Gives its AT line.
fn tell(site: &Site, server: &str, client: &str, position: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let line = format!("IAMAT {client} {position} {}", now.as_secs());
    site.client(server).ask(&line)
}

/// Three servers with their links up.
fn three() -> (Site, Vec<Process>) {
    let (site, processes) = Site::serve_each(THREE, "");
    eventually("all links are up", || {
        let ended = Process::run(&mut site.command(&["status"]));
        (ended.status.code() == Some(0)).then_some(())
    });
    (site, processes)
}

#[track_caller]
fn assert_keys(value: &Value, keys: &[&str]) {
    let mut found: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut keys = keys.to_vec();
    found.sort_unstable();
    keys.sort_unstable();
    assert_eq!(found, keys);
}

const REPORT: [&str; 6] = ["client", "position", "time", "origin", "skew", "at_line"];
const KNOWN: [&str; 3] = ["sequence", "learned_at", "learned_from"];

#[test]
fn a_herd_that_is_well_is_told_so() {
    let (site, _processes) = three();
    let told = tell(&site, "Riley", "kiwi", "+34.068930-118.445127");
    site.await_report(&["Jaquez", "Juzang"], "kiwi", &told);

    let status = run_json(&site, &["status"], 0);
    assert_keys(&status, &["well", "servers", "troubles"]);
    assert_eq!(status["well"], true);
    let names = status["servers"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|server| &server["server"]).collect();
    assert_eq!(names, ["Riley", "Jaquez", "Juzang"]);
    let riley = &status["servers"][0];
    assert_keys(riley, &["server", "address", "error", "status"]);
    assert_keys(
        &riley["status"],
        &[
            "name",
            "herd",
            "version",
            "incarnation",
            "uptime_seconds",
            "now",
            "expire_after_seconds",
            "clients",
            "last_sequence",
            "client_lines",
            "connections",
            "connections_accepted",
            "connections_refused",
            "connections_refused_by_address",
            "connections_refused_by_network",
            "web_connections_refused",
            "reads_put_off",
            "calls_refused",
            "calls_refused_by_name",
            "peer_connections_refused",
            "client_tls_refused",
            "config",
            "places",
            "links",
            "draining",
        ],
    );
    assert_keys(
        &riley["status"]["links"][0],
        &[
            "neighbour",
            "up",
            "since",
            "reason",
            "cursor",
            "lag_reports",
            "lag_seconds",
            "batches_sent",
            "reports_sent",
            "calls_failed",
            "batches_received",
            "received_newer",
            "received_duplicate",
            "received_older",
            "last_round_trip_seconds",
        ],
    );
    assert_eq!(riley["status"]["client_lines"]["accepted"], 1);
    assert_eq!(riley["status"]["links"][0]["neighbour"], "Jaquez");

    let proof = run_json(&site, &["verify"], 0);
    assert_keys(
        &proof,
        &[
            "proven",
            "servers",
            "errors",
            "clients_equal",
            "ranges_equal",
            "ranges_open",
            "rounds",
            "seconds",
            "clients_differing",
            "differing",
            "clients_changing",
            "ranges_not_listed",
        ],
    );
    assert_eq!(
        (&proof["proven"], &proof["clients_equal"]),
        (&true.into(), &1.into())
    );
}

#[test]
fn a_client_is_found_everywhere_and_by_who_is_near() {
    let (site, _processes) = three();
    let told = tell(&site, "Juzang", "kiwi", "+34.068930-118.445127");
    tell(&site, "Juzang", "plum", "+34.069930-118.445127");
    let plum = site.report("Juzang", "plum").unwrap();
    site.await_report(&["Riley", "Jaquez"], "kiwi", &told);
    site.await_report(&["Riley", "Jaquez"], "plum", &plum);

    let located = run_json(&site, &["locate", "kiwi"], 0);
    assert_eq!(located["agree"], true);
    assert_eq!(located["newest"]["at_line"], told);
    assert_keys(&located["newest"], &REPORT);
    let from = |server: usize| &located["held"][server]["learned_from"];
    assert_eq!((from(0), from(1)), (&"Jaquez".into(), &"Juzang".into()));
    assert_eq!(from(2), &Value::Null);
    run(&site, &["locate", "nobody"], 1);

    let near = run_json(&site, &["nearby", "kiwi", "--radius", "1km"], 0);
    assert_eq!(near["server"], "Riley");
    let [plum] = &near["clients"].as_array().unwrap()[..] else {
        panic!("{near}")
    };
    assert_keys(
        plum,
        &[&REPORT[..], &KNOWN, &["distance_meters", "age_seconds"]].concat(),
    );
    let metres = plum["distance_meters"].as_f64().unwrap();
    assert!((111.0..112.0).contains(&metres), "{metres}");
    run(&site, &["nearby", "nobody"], 1);
    let none = run_json(&site, &["nearby", "kiwi", "--radius", "100m"], 0);
    assert_eq!(none["clients"], Value::Array(Vec::new()));
}

#[test]
fn a_watch_tells_what_is_there_and_what_comes() {
    let (site, _processes) = three();
    let kiwi = tell(&site, "Riley", "kiwi", "+1+1");
    let mut command = site.command(&["watch", "--present", "--json", "--server", "Jaquez"]);
    site.await_report(&["Jaquez"], "kiwi", &kiwi);
    let process = Process::spawn(&mut command);
    let line = |n: usize| {
        eventually("another report", || {
            let out = process.stdout();
            let whole = out.matches('\n').count() > n;
            whole.then(|| serde_json::from_str::<Value>(out.lines().nth(n).unwrap()).unwrap())
        })
    };
    let first = line(0);
    assert_keys(&first, &[&REPORT[..], &KNOWN, &["server"]].concat());
    assert_eq!(
        (&first["at_line"], &first["learned_from"]),
        (&kiwi.into(), &"Riley".into())
    );
    let plum = tell(&site, "Jaquez", "plum", "+2+2");
    let second = line(1);
    assert_eq!(
        (&second["at_line"], &second["learned_from"]),
        (&plum.into(), &Value::Null)
    );
    process.signal("INT");
    assert_eq!(process.end().status.code(), Some(0));
}

#[test]
fn a_server_that_is_gone_and_one_that_hangs_are_told_by_what_they_are() {
    let (site, mut processes) = three();
    processes.pop().unwrap().kill();
    let riley = &processes[0];
    riley.freeze();
    let out = run(&site, &["status", "--timeout", "500ms"], 1).stdout;
    assert!(out.starts_with("herd test: 1 of 3 servers up"), "{out}");
    assert!(out.contains("\nRiley  no answer within 500ms ("), "{out}");
    assert!(
        out.contains("\nJuzang  can not be reached: Connection refused"),
        "{out}"
    );
    let out = run(
        &site,
        &["verify", "--timeout", "500ms", "--within", "1s"],
        1,
    )
    .stdout;
    assert!(
        out.starts_with("not proven: there is nobody to compare with\n"),
        "{out}"
    );
    riley.signal("CONT");
    eventually("Jaquez tells that its link to Juzang is down", || {
        let out = Process::run(&mut site.command(&["status"])).stdout;
        out.contains("\nJaquez -> Juzang  down for ").then_some(())
    });
}

#[test]
fn servers_that_differ_are_told_with_the_first_of_the_clients_and_how_many_there_are() {
    let (site, _processes) = Site::serve_each(APART, "");
    let mut riley = site.client("Riley");
    let lines: Vec<String> = (0..300).map(|n| format!("IAMAT c{n:03} +1+1 5")).collect();
    for line in &lines {
        riley.ask(line);
    }
    let jaquez = tell(&site, "Jaquez", "c000", "+2+2");
    let start = std::time::Instant::now();
    let out = run(&site, &["verify", "--within", "300ms", "--names", "2"], 1).stdout;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "NOT the same: servers differ about 300 clients");
    let riley = site.report("Riley", "c000").unwrap();
    assert_eq!(
        lines[3..],
        [
            "",
            "c000",
            &format!("  Riley: {riley}"),
            &format!("  Jaquez: {jaquez}"),
            "",
            "c001",
            &format!("  Riley: {}", site.report("Riley", "c001").unwrap()),
            "  Jaquez: does not know it",
            "",
            "and 298 more clients",
        ],
        "{out}"
    );
    let json = run_json(&site, &["verify", "--within", "300ms", "--names", "2"], 1);
    assert_eq!(
        (&json["proven"], &json["clients_differing"]),
        (&false.into(), &300.into())
    );
    let differing = json["differing"].as_array().unwrap();
    assert_eq!(differing.len(), 2);
    assert_keys(&differing[1], &["client", "held"]);
    assert_eq!(differing[1]["held"][1]["report"], Value::Null);
}
