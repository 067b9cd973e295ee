//! What all the questions have in common: whom they ask, what they make of
//! mistakes, and where their words go.

use std::io;
use std::process::Stdio;

use super::operator::{Manner, herd, known, run};
use crate::common::{Process, Site};

const ALL: [&[&str]; 5] = [
    &["status"],
    &["verify"],
    &["locate", "kiwi"],
    &["nearby", "kiwi"],
    &["watch"],
];

#[test]
fn mistakes_in_config_and_arguments_end_with_2_and_ask_nobody() {
    let (site, _played) = herd(&["Riley", "Jaquez"]);
    for question in ALL {
        let ended = run(&site, &[question, &["--server", "riley"]].concat(), 2);
        assert_eq!(ended.stdout, "");
        assert!(
            ended
                .stderr
                .contains("did you mean \"Riley\" (case counts)?"),
            "{ended:?}"
        );
        let ended = Process::run(&mut site.command_alone(question));
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
            let ended = Process::run(site.command_alone(question).args(wrong));
            assert_eq!(
                ended.status.code(),
                Some(2),
                "{question:?} {wrong:?}: {ended:?}"
            );
            assert!(ended.stderr.contains(wrong[1]), "{ended:?}");
        }
        run(&site, &[question, &["--at", "127.0.0.1:1"]].concat(), 2);
    }
    for wrong in [
        &["locate"][..],
        &["locate", "two words"],
        &["nearby"],
        &["nearby", "kiwi", "--point", "1,2"],
        &["nearby", "--point", "91,0"],
        &["nearby", "kiwi", "--radius", "5mi"],
        &["nearby", "kiwi", "--limit", "10001"],
        &["watch", "--client", "a", "--prefix", "b"],
        &["watch", "--circle", "1,2"],
        &["status", "--watch", "0"],
        &["verify", "--server", "Riley"],
        &["verify", "--within", "soon"],
    ] {
        run(&site, wrong, 2);
    }
}

#[test]
fn every_help_is_whole() {
    let site = Site::new((&["Riley"], &[]), "");
    for question in ALL {
        let help = Process::run(site.command_alone(&question[..1]).arg("--help"));
        assert_eq!(help.status.code(), Some(0));
        for word in [
            "--config",
            "--server",
            "--at",
            "--timeout",
            "--json",
            "xit code",
        ] {
            assert!(
                help.stdout.contains(word),
                "{word} is missing in {}",
                help.stdout
            );
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_mistake() {
    let (site, played) = herd(&["Riley", "Jaquez"]);
    for server in &played {
        server.knows(known("kiwi", "+1+1", "1", ""));
    }
    for question in &ALL[..4] {
        let mut command = site.command(question);
        let (_, gone) = io::pipe()
            .map(|(reader, writer)| (drop(reader), writer))
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(gone)
            .stderr(Stdio::piped());
        let ended = Process::spawn_with_streams(&mut command).end();
        assert_eq!(ended.status.code(), Some(0), "{question:?}: {ended:?}");
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn a_server_is_asked_by_its_address_alone() {
    let (site, played) = herd(&["Riley"]);
    let address = played[0].address();
    let ended = Process::run(&mut site.command_alone(&["status", "--at", &address]));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\nRiley "), "{ended:?}");
}

#[test]
fn somebody_else_at_an_address_is_told_and_not_believed() {
    let (site, played) = herd(&["Riley", "Jaquez"]);
    played[0].knows(known("kiwi", "+1+1", "1", ""));
    played[1].knows(known("kiwi", "+1+1", "1", "Riley"));
    played[1].script(|script| script.status.herd = "other".to_owned());
    for question in &ALL[..3] {
        let ended = run(&site, question, 1);
        let told = "at that address is Jaquez of the herd other";
        assert!(ended.stdout.contains(told), "{ended:?}");
    }
    for question in &ALL[3..] {
        let ended = run(&site, &[*question, &["--server", "Jaquez"]].concat(), 1);
        assert!(ended.stderr.contains("no server answers\n"), "{ended:?}");
        assert!(
            ended.stderr.contains("is Jaquez of the herd other"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_server_that_hangs_is_passed_over_by_those_who_need_one() {
    let (site, played) = herd(&["Riley", "Jaquez"]);
    played[0].script(|script| script.on_status = Manner::Hangs);
    let start = std::time::Instant::now();
    // Far longer than it takes.
    let ended = run(&site, &["nearby", "kiwi", "--timeout", "60s"], 0);
    assert!(ended.stdout.contains("of kiwi, by Jaquez"), "{ended:?}");
    assert!(start.elapsed().as_secs() < 15);
}
