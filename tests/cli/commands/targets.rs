//! The common part of all queries: the servers that they query, mistakes, and the streams of
//! output and errors.

use std::io;
use std::process::Stdio;

use tonic::Status;

use super::fake_server::{Behaviour, held_report, herd, run, run_json};
use crate::common::{BlackHole, Process, Site, free_ports, loopback};

const ALL: [&[&str]; 5] = [
    &["status"],
    &["verify"],
    &["locate", "kiwi"],
    &["nearby", "kiwi"],
    &["watch"],
];

#[test]
fn mistakes_in_config_and_arguments_exit_with_2() {
    let (site, _played) = herd(&["Riley", "Jaquez"]);
    for query in ALL {
        let ended = run(&site, &[query, &["--server", "riley"]].concat(), 2);
        assert_eq!(ended.stdout, "");
        assert!(
            ended
                .stderr
                .contains("did you mean \"Riley\" (case counts)?"),
            "{ended:?}"
        );
        let ended = Process::run(&mut site.command_alone(query));
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(
            ended
                .stderr
                .starts_with("error: config/herd.toml: no such file")
        );
        for wrong in [
            ["--at", "nowhere"],
            ["--at", "127.0.0.1:0"],
            ["--timeout", "0s"],
            ["--timeout", "5"],
        ] {
            let ended = Process::run(site.command_alone(query).args(wrong));
            assert_eq!(
                ended.status.code(),
                Some(2),
                "{query:?} {wrong:?}: {ended:?}"
            );
            assert!(ended.stderr.contains(wrong[1]), "{ended:?}");
        }
        run(&site, &[query, &["--at", "127.0.0.1:1"]].concat(), 2);
    }
}

#[test]
fn an_address_that_swallows_packets_is_unreachable_within_the_time_limit() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let holes = [(); 2].map(|()| BlackHole::open("127.0.0.1:0".parse().unwrap()));
    let addresses = holes.each_ref().map(|hole| hole.address.to_string());
    let (site, _fakes) = herd(&["Riley"]);
    for query in ALL {
        let [first, second] = addresses.each_ref();
        let at = ["--at", first, "--at", second, "--timeout", "500ms"];
        let ended = Process::run(site.command_alone(query).args(at));
        let printed = ended.stdout.clone() + &ended.stderr;
        assert!(
            printed.contains("unreachable: no connection within 450ms: no answer"),
            "{query:?}: {ended:?}"
        );
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    for server in &fakes {
        server.hold(held_report("kiwi", "+1+1", "1", ""));
    }
    for query in &ALL[..4] {
        let mut command = site.command(query);
        let (_, gone) = io::pipe()
            .map(|(reader, writer)| (drop(reader), writer))
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(gone)
            .stderr(Stdio::piped());
        let ended = Process::spawn_with_streams(&mut command).end();
        assert_eq!(ended.status.code(), Some(0), "{query:?}: {ended:?}");
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn a_server_is_queried_by_its_address_without_a_config() {
    let (site, fakes) = herd(&["Riley"]);
    let address = fakes[0].address();
    let ended = Process::run(&mut site.command_alone(&["status", "--at", &address]));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\nRiley "), "{ended:?}");
}

#[test]
fn another_server_at_an_address_is_an_error() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    fakes[0].hold(held_report("kiwi", "+1+1", "1", ""));
    fakes[1].hold(held_report("kiwi", "+1+1", "1", "Riley"));
    fakes[1].state(|state| state.status.herd = "other".to_owned());
    for query in &ALL[..3] {
        let ended = run(&site, query, 1);
        let message = "this address belongs to server Jaquez of herd other";
        assert!(ended.stdout.contains(message), "{ended:?}");
    }
    for query in &ALL[3..] {
        let ended = run(&site, &[*query, &["--server", "Jaquez"]].concat(), 1);
        assert!(ended.stderr.contains("no server answered\n"), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("belongs to server Jaquez of herd other"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_server_that_hangs_is_skipped_by_queries_that_need_one_server() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    fakes[0].state(|state| state.status_behaviour = Behaviour::Hang);
    // Longer than the test waits for the process.
    let ended = run(&site, &["nearby", "kiwi", "--timeout", "1h"], 0);
    assert!(
        ended.stdout.contains("near kiwi, according to Jaquez"),
        "{ended:?}"
    );
}

/// Runs a query of one address, and returns what it says of it.
fn said_of(site: &Site, address: &str) -> String {
    let ended = Process::run(&mut site.command_alone(&["status", "--at", address]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    ended.stdout.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_port_that_is_no_peer_port_is_named_with_the_way_out() {
    let make = || {
        let site = Site::new((&["Riley"], &[]), "");
        let web = free_ports(1)[0];
        let text = site.config().replace(
            "talks_to = []",
            &format!("talks_to = []\nweb = \"127.0.0.1:{web}\""),
        );
        site.set_config(&text);
        site
    };
    let (site, _riley) = Site::start(make, |site| site.run(&["up"]));
    let clients = said_of(&site, &loopback(site.server("Riley").clients).to_string());
    assert!(
        clients.contains("a port for clients (line protocol) listens there"),
        "{clients}"
    );
    let config = site.config();
    let web = config
        .lines()
        .find_map(|line| line.strip_prefix("web = "))
        .unwrap();
    let web = said_of(&site, web.trim_matches('"'));
    assert!(
        web.contains("an HTTP server listens there, such as a web port"),
        "{web}"
    );
    for said in [clients, web] {
        assert!(
            said.ends_with("use the address of \"peers\" in the config"),
            "{said}"
        );
    }
}

#[test]
fn with_json_an_error_is_an_object_too() {
    let (site, fakes) = herd(&["Riley"]);
    let unknown = Status::not_found("there is no report");
    fakes[0].state(|state| state.behaviour = Behaviour::Reject(unknown));
    let json = run_json(&site, &["nearby", "nobody"], 1);
    assert_eq!(json["error"], "Riley has no report of client nobody");
    for query in ALL {
        let json = run_json(&site, &[query, &["--server", "riley"]].concat(), 2);
        assert!(
            json["error"].as_str().unwrap().contains("did you mean"),
            "{json}"
        );
    }
}

#[test]
fn the_own_words_of_a_server_are_printed_once_escaped_on_one_line() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    let busy = Status::unavailable("full of \\ and \u{1b}[2J\nerror: forged");
    for fake in &fakes {
        fake.state(|state| state.status_behaviour = Behaviour::Reject(busy.clone()));
    }
    let words = "takes no call now: full of \\\\ and \\x1b[2J error: forged";
    for query in ALL {
        let ended = run(&site, query, 1);
        let printed = ended.stdout.clone() + &ended.stderr;
        assert!(printed.contains(words), "{query:?}: {ended:?}");
    }
}
