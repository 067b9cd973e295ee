//! The queries against running servers, each a process of its own: their results, and the
//! keys of their JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::fake_server::{run, run_json};
use crate::common::{Process, Site, Topology, eventually};

const THREE: Topology<'static> = (
    &["Riley", "Jaquez", "Juzang"],
    &[("Riley", "Jaquez"), ("Jaquez", "Juzang")],
);

/// Two servers without a link.
const UNLINKED: Topology<'static> = (&["Riley", "Jaquez"], &[]);

/// Reports the position of a client with the present time, and returns the AT line.
fn report(site: &Site, server: &str, client: &str, position: &str) -> String {
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

const REPORT_KEYS: [&str; 6] = [
    "client",
    "position",
    "time",
    "origin",
    "skew_nanos",
    "at_line",
];
const HELD_KEYS: [&str; 3] = ["sequence", "learned_at", "learned_from"];

#[test]
fn a_healthy_herd_is_shown_and_proven() {
    let (site, _processes) = three();
    let at_line = report(&site, "Riley", "kiwi", "+34.068930-118.445127");
    site.await_report(&["Jaquez", "Juzang"], "kiwi", &at_line);

    let status = run_json(&site, &["status"], 0);
    assert_keys(&status, &["healthy", "servers", "problems"]);
    assert_eq!(status["healthy"], true);
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
            "started_at",
            "uptime_seconds",
            "now",
            "draining",
            "config",
            "log_lines_dropped",
            "expire_after_seconds",
            "clients",
            "clients_limit",
            "feed_entries",
            "last_sequence",
            "client_lines",
            "client_connections",
            "client_connections_limit",
            "client_connections_accepted",
            "client_reads_delayed",
            "client_connections_rejected",
            "peer_connections_rejected",
            "web_connections_rejected",
            "peer_calls_rejected",
            "places",
            "links",
        ],
    );
    assert_keys(
        &riley["status"]["links"][0],
        &[
            "neighbour",
            "up",
            "since",
            "state_changes",
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
            "received_stale",
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
fn a_client_is_located_on_all_servers_and_found_nearby() {
    let (site, _processes) = three();
    let at_line = report(&site, "Juzang", "kiwi", "+34.068930-118.445127");
    report(&site, "Juzang", "plum", "+34.069930-118.445127");
    let plum = site.report("Juzang", "plum").unwrap();
    site.await_report(&["Riley", "Jaquez"], "kiwi", &at_line);
    site.await_report(&["Riley", "Jaquez"], "plum", &plum);

    let located = run_json(&site, &["locate", "kiwi"], 0);
    assert_eq!(located["agree"], true);
    assert_eq!(located["newest"]["at_line"], at_line);
    assert_keys(&located["newest"], &REPORT_KEYS);
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
        &[
            &REPORT_KEYS[..],
            &HELD_KEYS,
            &["distance_meters", "age_seconds"],
        ]
        .concat(),
    );
    let metres = plum["distance_meters"].as_f64().unwrap();
    assert!((111.0..112.0).contains(&metres), "{metres}");
    run(&site, &["nearby", "nobody"], 1);
    let none = run_json(&site, &["nearby", "kiwi", "--radius", "100m"], 0);
    assert_eq!(none["clients"], Value::Array(Vec::new()));
}

#[test]
fn a_watch_prints_present_and_new_reports() {
    let (site, _processes) = three();
    let kiwi = report(&site, "Riley", "kiwi", "+1+1");
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
    assert_keys(
        &first,
        &[&REPORT_KEYS[..], &HELD_KEYS, &["server"]].concat(),
    );
    assert_eq!(
        (&first["at_line"], &first["learned_from"]),
        (&kiwi.into(), &"Riley".into())
    );
    let plum = report(&site, "Jaquez", "plum", "+2+2");
    let second = line(1);
    assert_eq!(
        (&second["at_line"], &second["learned_from"]),
        (&plum.into(), &Value::Null)
    );
    process.signal("INT");
    assert_eq!(process.end().status.code(), Some(0));
}

#[test]
fn a_server_that_is_gone_and_one_that_hangs_are_listed_with_the_cause() {
    let (site, mut processes) = three();
    processes.pop().unwrap().kill();
    let riley = &processes[0];
    riley.freeze();
    let out = run(&site, &["status", "--timeout", "5s"], 1).stdout;
    assert!(out.starts_with("herd test: 1 of 3 servers up"), "{out}");
    assert!(out.contains("\nRiley  no answer within 5s ("), "{out}");
    assert!(
        out.contains("\nJuzang  unreachable: Connection refused"),
        "{out}"
    );
    let out = run(&site, &["verify", "--timeout", "5s", "--within", "1s"], 1).stdout;
    assert!(
        out.starts_with("not proven: fewer than two servers answered\n"),
        "{out}"
    );
    riley.signal("CONT");
    eventually("Jaquez reports that its link to Juzang is down", || {
        let out = Process::run(&mut site.command(&["status"])).stdout;
        out.contains("\nJaquez -> Juzang  down for ").then_some(())
    });
}

#[test]
fn servers_that_differ_are_shown_with_the_first_clients_and_their_number() {
    let (site, _processes) = Site::serve_each(UNLINKED, "");
    let mut riley = site.client("Riley");
    let lines: Vec<String> = (0..30).map(|n| format!("IAMAT c{n:02} +1+1 5")).collect();
    for line in &lines {
        riley.ask(line);
    }
    let jaquez = report(&site, "Jaquez", "c00", "+2+2");
    let arguments = ["verify", "--within", "300ms", "--names", "2"];
    // On a busy machine there may be no time to list all.
    let out = eventually("all clients are listed", || {
        let out = run(&site, &arguments, 1).stdout;
        let heading = "NOT the same: servers differ in 30 clients\n";
        out.starts_with(heading).then_some(out)
    });
    let lines: Vec<&str> = out.lines().collect();
    let riley = site.report("Riley", "c00").unwrap();
    assert_eq!(
        lines[3..],
        [
            "",
            "c00",
            &format!("  Riley: {riley}"),
            &format!("  Jaquez: {jaquez}"),
            "",
            "c01",
            &format!("  Riley: {}", site.report("Riley", "c01").unwrap()),
            "  Jaquez: no report",
            "",
            "and 28 more clients",
        ],
        "{out}"
    );
    let json = eventually("all clients are listed", || {
        let json = run_json(&site, &arguments, 1);
        (json["clients_differing"] == 30).then_some(json)
    });
    assert_eq!(json["proven"], false);
    let differing = json["differing"].as_array().unwrap();
    assert_eq!(differing.len(), 2);
    assert_keys(&differing[1], &["client", "held"]);
    assert_eq!(differing[1]["held"][1]["report"], Value::Null);
}
