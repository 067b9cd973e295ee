//! The queries against running servers, each a process of its own: their results, and the
//! keys of their JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::fake_server::{run, run_json};
use crate::common::{PAIR, Process, Site, Topology, eventually, free_ports};

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
const HELD_KEYS: [&str; 4] = ["sequence", "learned_at", "learned_from", "recovered"];

/// As by mistake on another machine: the same name, another address.
#[test]
fn a_second_process_of_one_name_is_found_by_status_verify_and_the_log_of_a_neighbour() {
    let (site, _processes) = Site::serve_each(PAIR, "");
    let ports = free_ports(2);
    let second = site
        .config()
        .replacen(
            &site.server("Riley").clients.to_string(),
            &ports[0].to_string(),
            1,
        )
        .replacen(
            &site.server("Riley").peers.to_string(),
            &ports[1].to_string(),
            1,
        );
    std::fs::write(
        site.path("second.toml"),
        second + "[log]\ndir = \"second\"\n",
    )
    .unwrap();
    run(&site, &["verify"], 0);
    let serve = ["serve", "Riley", "--config", "second.toml"];
    let _second = Process::spawn(&mut site.command_alone(&serve));
    let line = site.await_log(
        "Jaquez",
        "two processes run as Riley and push from 127.0.0.1:",
    );
    assert!(line.contains(" WARN  "), "{line}");
    let ended = run(&site, &["status"], 1);
    let problem = "\nRiley  two or more processes run under this name, by the status of Jaquez: ";
    assert!(ended.stdout.contains(problem), "{}", ended.stdout);
    let ended = run(&site, &["verify"], 1);
    let verdict = "not proven: two or more processes run as Riley\n";
    assert!(ended.stdout.starts_with(verdict), "{}", ended.stdout);
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
