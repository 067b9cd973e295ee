//! The common part of all queries: the servers that they query, mistakes, and the streams of
//! output and errors.

use std::io;
use std::process::Stdio;

use super::fake_server::{Behaviour, held_report, herd, run};
use crate::common::{BlackHole, Process};

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
