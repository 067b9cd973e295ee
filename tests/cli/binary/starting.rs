//! `up`, `serve` and `check` without mistakes.

use std::process::Command;

use super::T;
use crate::common::{CLASSIC, Client, LIMIT, Site, eventually, within};

const PAIR: (&[&str], &[(&str, &str)]) = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

#[test]
fn up_prints_addresses_and_an_example() {
    let (site, process) = Site::up(CLASSIC, "");
    let output = process.stdout();
    for server in site.servers() {
        let (name, clients, peers) = (&server.name, server.clients, server.peers);
        let line = output
            .lines()
            .find(|line| line.trim_start().starts_with(name.as_str()));
        let line = line.unwrap_or_else(|| panic!("{name} is missing: {output}"));
        let places = format!("clients on 127.0.0.1:{clients}, neighbours on 127.0.0.1:{peers}");
        assert!(line.ends_with(&places), "{line}");
        site.client(name);
    }
    assert!(output.starts_with("proxyherd "), "{output}");
    assert!(output.contains(": herd test\n"), "{output}");
    assert!(output.contains("\nlogs in logs\n"), "{output}");
    assert!(
        output.contains("try, from another terminal:\n  printf "),
        "{output}"
    );
}

#[test]
fn the_example_that_up_prints_works() {
    let make = || Site::with_built_in_places(CLASSIC, "");
    let (_site, process) = Site::start(make, |site| site.run(&["up"]));
    // A debug build on a busy machine needs long for the built-in places.
    within(LIMIT * 5, "the places are loaded", || {
        let output = process.stderr();
        output.contains(" places are loaded\n").then_some(())
    });
    let output = process.stdout();
    let example = output
        .lines()
        .find_map(|line| line.strip_prefix("  printf "));
    let (lines, connection) = example.unwrap().split_once(" | nc -N ").unwrap();
    let (host, port) = connection.split_once(' ').unwrap();
    let lines = sh(&format!("printf {lines}"));
    let mut client = Client::connect(format!("{host}:{port}").parse().unwrap());
    client.send(&lines);
    let answer = String::from_utf8(client.finish()).unwrap();
    assert_example_answer(&answer);

    let nc_help = sh("nc -h 2>&1 || true");
    if String::from_utf8(nc_help).unwrap().contains("-N") {
        assert_example_answer(
            &String::from_utf8(sh(&format!("printf {}", example.unwrap()))).unwrap(),
        );
    }
}

fn assert_example_answer(answer: &str) {
    let mut lines = answer.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("AT Riley +"), "{answer}");
    assert!(
        first.ends_with(" kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503"),
        "{answer}"
    );
    assert!(lines.next().unwrap().starts_with("AT Riley +"), "{answer}");
    assert_eq!(answer.matches("\"name\" : ").count(), 5, "{answer}");
    assert!(answer.contains("\"status\" : \"OK\""), "{answer}");
    assert!(answer.ends_with("\n}\n\n"), "{answer}");
}

fn sh(script: &str) -> Vec<u8> {
    let done = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
    done.stdout
}

#[test]
fn a_report_at_one_server_is_known_at_all() {
    let (site, process) = Site::up(CLASSIC, "");
    let at_line = site
        .client("Campbell")
        .ask(&format!("IAMAT kiwi +34.06-118.44 {T}"));
    assert!(at_line.starts_with("AT Campbell +"), "{at_line}");
    site.await_report(CLASSIC.0, "kiwi", &at_line);
    let mut client = site.client("Riley");
    client.send("WHATSAT kiwi 10 5\n");
    let (at, places) = client.places();
    assert_eq!(at, at_line);
    assert!(places.contains("\"name\" : \"Westwood\""), "{places}");
    drop(process);
}

#[test]
fn a_herd_of_five_processes_recovers_one_that_was_killed() {
    let (site, mut processes) = Site::serve_each(CLASSIC, "");
    let kiwi = site.client("Bernard").ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(CLASSIC.0, "kiwi", &kiwi);

    let juzang = processes.remove(2);
    assert!(juzang.stdout().contains("  Juzang  clients on "));
    assert!(!juzang.stdout().contains("Riley"), "only its own addresses");
    juzang.kill();
    let plum = site.client("Riley").ask(&format!("IAMAT plum +2+2 {T}"));
    site.await_report(&["Riley", "Jaquez", "Campbell", "Bernard"], "plum", &plum);
    processes[0].await_stderr("Riley: link to Juzang is down: ");

    let restarted = eventually("Juzang has its ports again", || {
        site.run(&["serve", "Juzang"]).ok()
    });
    site.await_report(&["Juzang"], "kiwi", &kiwi);
    site.await_report(&["Juzang"], "plum", &plum);
    let kiwi = site.client("Juzang").ask(&format!("IAMAT kiwi +3+3 {T}.5"));
    site.await_report(CLASSIC.0, "kiwi", &kiwi);
    drop(restarted);
}

#[test]
fn a_server_without_neighbours_serves_and_reports_links_that_are_down() {
    let make = || Site::new(PAIR, "");
    let (site, riley) = Site::start(make, |site| site.run(&["serve", "Riley"]));
    riley.await_stderr("warning: Riley: link to Jaquez is down: ");
    assert!(
        riley.stderr().to_lowercase().contains("refused"),
        "{}",
        riley.stderr()
    );
    let at_line = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));

    let jaquez = eventually("Jaquez starts", || site.run(&["serve", "Jaquez"]).ok());
    riley.await_stderr("\nRiley: link to Jaquez is up\n");
    jaquez.await_stderr("Jaquez: link to Riley is up\n");
    site.await_report(&["Jaquez"], "kiwi", &at_line);
    jaquez.kill();
    eventually("the end of the link is reported", || {
        (riley.stderr().matches("link to Jaquez is down: ").count() > 1).then_some(())
    });
}

#[test]
fn servers_that_start_together_are_linked() {
    let (_site, process) = Site::up(CLASSIC, "");
    eventually("all twelve ends of links are up", || {
        let stderr = process.stderr();
        (stderr.matches(" is up\n").count() == 12).then_some(())
    });
}
