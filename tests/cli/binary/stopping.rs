//! Signals: a server that is told to stop leaves nothing behind.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::T;
use crate::common::{CLASSIC, Client, Ended, LIMIT, Process, Site, Topology, eventually};

const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);
const ALONE: Topology<'static> = (&["Riley"], &[]);

/// A pair of servers in a process each, linked.
fn pair(settings: &str) -> (Site, Process, Process) {
    let (site, mut both) = Site::serve_each(PAIR, settings);
    let (jaquez, riley) = (both.pop().unwrap(), both.pop().unwrap());
    riley.await_stderr("link to Jaquez is up");
    jaquez.await_stderr("link to Riley is up");
    (site, riley, jaquez)
}

fn stopped_well(ended: &Ended) {
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.ends_with(": stopped\n"), "{ended:?}");
}

/// Reports until the server closes. Gives the names whose reports were answered.
fn report_until_closed(mut client: Client, name: &str) -> Vec<String> {
    let mut answered = Vec::new();
    for n in 0.. {
        let id = format!("{name}-{n}");
        if client.try_send(format!("IAMAT {id} +1+1 {T}\n")).is_err() {
            break;
        }
        match client.try_line() {
            Ok(line) if line.ends_with(b"\n") => answered.push(id),
            _ => break,
        }
    }
    answered
}

#[test]
fn every_report_that_was_answered_before_sigterm_is_at_a_neighbour() {
    let (site, riley, _jaquez) = pair("");
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let client = site.client("Riley");
            thread::spawn(move || report_until_closed(client, &format!("client-{n}")))
        })
        .collect();
    site.await_log("Jaquez", "client-7-20 ");
    riley.signal("TERM");
    stopped_well(&riley.end());

    let answered = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap());
    let answered: Vec<String> = answered.collect();
    assert!(answered.len() > 20);
    let mut jaquez = site.client("Jaquez");
    for id in answered {
        jaquez.send(format!("WHATSAT {id} 0 0\n"));
        let (at_line, _) = jaquez.places();
        assert!(at_line.starts_with("AT Riley "), "{at_line}");
    }
    assert!(site.log("Riley").ends_with(" INFO  stopped\n"));
}

#[test]
fn a_herd_whose_servers_are_restarted_one_by_one_forgets_nothing() {
    let (site, mut servers) = Site::serve_each(CLASSIC, "");
    for (n, name) in CLASSIC.0.iter().enumerate() {
        let mut client = site.client(name);
        for n in 0..100 {
            client.send(format!("IAMAT {name}-{n} +1+1 {T}\n"));
        }
        for _ in 0..100 {
            client.text();
        }
        servers[n].signal("TERM");
        stopped_well(&servers.remove(n).end());
        let restarted = eventually("it has its ports again", || site.run(&["serve", name]).ok());
        servers.insert(n, restarted);
    }
    for server in CLASSIC.0 {
        for name in CLASSIC.0 {
            for n in 0..100 {
                let id = format!("{name}-{n}");
                eventually(&format!("{server} knows {id}"), || site.report(server, &id));
            }
        }
    }
}

#[test]
fn a_whole_herd_stops_on_ctrl_c() {
    let (site, process) = Site::up(CLASSIC, "");
    let mut client = site.client("Riley");
    let at_line = client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(CLASSIC.0, "kiwi", &at_line);
    let start = Instant::now();
    process.signal("INT");
    let ended = process.end();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    stopped_well(&ended);
    assert!(ended.stderr.contains("stops on Ctrl-C\n"), "{ended:?}");
    assert!(!ended.stderr.contains("warning"), "{ended:?}");
    assert_eq!(client.rest(), b"", "it is closed");
    for server in site.servers() {
        let told = format!("\n{}: stopped\n", server.name);
        assert!(ended.stderr.contains(&told), "{ended:?}");
        assert!(site.log(&server.name).ends_with(" INFO  stopped\n"));
    }
}

#[test]
fn a_whole_herd_that_stops_under_load_does_not_warn_of_its_own_end() {
    let (site, process) = Site::up(CLASSIC, "");
    let clients: Vec<_> = CLASSIC
        .0
        .iter()
        .map(|&server| {
            let client = site.client(server);
            thread::spawn(move || report_until_closed(client, server))
        })
        .collect();
    site.await_log("Bernard", "Riley-20 ");
    process.signal("INT");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    for client in clients {
        client.join().unwrap();
    }
    // What nobody got is told; that links of servers that stop go down is no news.
    let warnings = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning"));
    let others: Vec<&str> = warnings
        .filter(|line| !line.contains(": stopped; "))
        .collect();
    assert_eq!(others, [""; 0], "{ended:?}");
}

#[test]
fn what_was_read_before_the_end_is_answered_and_what_comes_after_is_not_taken() {
    let (site, process) = Site::up(ALONE, "");
    let mut client = site.client("Riley");
    client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    client.send("IAMAT half-a-line +1+1 1");
    process.signal("TERM");
    assert_eq!(client.rest(), b"");
    assert_eq!(process.end().status.code(), Some(0));
}

#[test]
fn what_no_neighbour_got_is_told() {
    let make = || Site::new(PAIR, "");
    let (site, riley) = Site::start(make, |site| site.run(&["serve", "Riley"]));
    let mut client = site.client("Riley");
    client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    client.ask(&format!("IAMAT plum +1+1 {T}"));
    riley.signal("TERM");
    let ended = riley.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let told = "warning: Riley: stopped; 2 reports reached no neighbour\n";
    assert!(ended.stderr.ends_with(told), "{ended:?}");
    assert!(site.log("Riley").contains("WARN  stopped; 2 reports"));
}

#[test]
fn a_question_under_way_when_the_server_stops_is_answered_whole() {
    let make = || Site::with_built_in_places(ALONE, "");
    let (site, process) = Site::start(make, |site| site.run(&["up"]));
    let mut client = site.client("Riley");
    // The places are still being loaded, so the question waits.
    client.send(format!("IAMAT kiwi +34.06-118.44 {T}\nWHATSAT kiwi 10 1\n"));
    let at_line = client.text();
    process.signal("TERM");
    let answer = String::from_utf8(client.rest()).unwrap();
    assert_eq!(answer.lines().next(), Some(at_line.as_str()));
    let is_told = answer.contains("\"status\" : \"OK\"")
        || (answer.contains("\"status\" : \"UNKNOWN_ERROR\"") && answer.contains("shutting down"));
    assert!(is_told, "{answer}");
    assert!(answer.ends_with("\n}\n\n"), "{answer}");
    assert_eq!(process.end().status.code(), Some(0));
    let log = site.log("Riley");
    assert!(log.contains(&format!(" out {at_line} and ")), "{log}");
}

/// Nobody answers a server that the system has stopped, and nothing closes.
fn frozen_neighbour(settings: &str) -> (Site, Process, Process) {
    let (site, riley, jaquez) = pair(settings);
    jaquez.freeze();
    site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    (site, riley, jaquez)
}

#[test]
fn a_neighbour_that_hangs_delays_the_end_by_the_drain_time_at_most() {
    let (_site, riley, _jaquez) = frozen_neighbour("[flooding]\ndrain = \"500ms\"\n");
    let start = Instant::now();
    riley.signal("TERM");
    let ended = riley.end();
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("stopped; 1 report reached no neighbour"),
        "{ended:?}"
    );
}

#[test]
fn a_client_that_does_not_read_delays_the_end_by_the_drain_time_at_most() {
    let (site, process) = Site::up(ALONE, "[flooding]\ndrain = \"500ms\"\n");
    let mut client = site.client("Riley");
    client.fill("not a command, and answered with itself\n");
    let start = Instant::now();
    process.signal("TERM");
    let ended = process.end();
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    stopped_well(&ended);
}

#[test]
fn a_second_signal_stops_at_once() {
    let patient = "[flooding]\ndrain = \"1m\"\nattempt = \"1m\"\nkeep_alive = \"1m\"\n";
    let (_site, mut riley, _jaquez) = frozen_neighbour(patient);
    riley.signal("TERM");
    riley.await_stderr("stops on SIGTERM\n");
    assert!(riley.is_running(), "it waits for its neighbour");
    riley.signal("INT");
    let ended = riley.end();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .ends_with("error: stopped at once, by a second signal\n"),
        "{ended:?}"
    );
}

#[test]
fn while_nothing_serves_yet_a_signal_ends_it_at_once() {
    let site = Site::new(ALONE, "");
    // A list of places that never ends, as nobody writes to this pipe.
    fs::remove_file(site.path("places.csv")).unwrap();
    let made = Command::new("mkfifo").arg(site.path("places.csv")).status();
    assert!(made.unwrap().success());
    let process = Process::spawn(&mut site.command(&["up"]));
    let (opened, is_opened) = mpsc::channel();
    let pipe = site.path("places.csv");
    thread::spawn(move || opened.send(File::options().write(true).open(pipe)));
    // It is opened when the program has come as far as to read from it.
    let writer = is_opened.recv_timeout(LIMIT).unwrap().unwrap();
    process.signal("TERM");
    assert_eq!(process.end().status.signal(), Some(15));
    drop(writer);
}

#[test]
fn a_signal_during_the_start_stops_too() {
    let make = || Site::with_built_in_places(ALONE, "");
    let (_site, process) = Site::start(make, |site| {
        // From its log's first words on, and not only when it says that it serves.
        Process::spawn(&mut site.command(&["up"])).logging(&site.path("logs/Riley.log"))
    });
    process.signal("TERM");
    stopped_well(&process.end());
}
