//! `proxyherd verify`: 0 is a proof, and nothing else is 0.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use proxyherd::proto::{DigestRequest, KnownReport};
use tonic::Status;

use super::operator::{Manner, Played, Script, herd, known, run, run_json};
use crate::common::Process;

const THREE: [&str; 3] = ["Riley", "Jaquez", "Juzang"];

fn client(i: usize) -> KnownReport {
    known(&format!("client-{i}"), "+1+1", "9", "")
}

fn all_know(played: &[Played], clients: usize) {
    for server in played {
        (0..clients).for_each(|i| server.knows(client(i)));
    }
}

#[test]
fn servers_that_hold_the_same_are_proven_to_in_one_round() {
    let (site, played) = herd(&THREE);
    all_know(&played, 500);
    let out = run(&site, &["verify"], 0).stdout;
    assert!(
        out.starts_with("proven: all 3 servers hold the same\n"),
        "{out}"
    );
    assert!(
        out.contains("\nseen equal: 500 clients in 4,096 ranges; 1 round, "),
        "{out}"
    );
    assert_eq!(out.lines().count(), 2, "{out}");
    let json = run_json(&site, &["verify"], 0);
    assert_eq!(
        (&json["proven"], &json["clients_equal"]),
        (&true.into(), &500.into())
    );
    for server in &played {
        server.script(|script| assert_eq!(script.digests.len(), 2));
    }
}

#[test]
fn clients_that_differ_are_named_with_what_each_server_holds() {
    let (site, played) = herd(&THREE);
    all_know(&played, 300);
    played[1].script(|script| script.known.remove("client-7"));
    played[2].knows(known("client-8", "+2+2", "10", ""));
    let out = run(&site, &["verify", "--within", "300ms"], 1).stdout;
    assert!(
        out.starts_with("NOT the same: servers differ about 2 clients\n"),
        "{out}"
    );
    assert!(
        out.contains(
            "\nclient-7\n  Riley and Juzang: AT Riley +0.263873386 client-7 +1+1 9\n  \
             Jaquez: does not know it\n"
        ),
        "{out}"
    );
    assert!(
        out.contains(
            "\nclient-8\n  Riley and Jaquez: AT Riley +0.263873386 client-8 +1+1 9\n  \
             Juzang: AT Riley +0.263873386 client-8 +2+2 10\n"
        ),
        "{out}"
    );
    assert!(!out.contains("still changing"), "{out}");
    let json = run_json(&site, &["verify", "--within", "0s", "--names", "1"], 1);
    assert_eq!(json["clients_differing"], 2);
    assert_eq!(json["clients_equal"], 298);
    assert_eq!(json["differing"].as_array().unwrap().len(), 1);
    assert_eq!(
        json["differing"][0]["held"][1]["report"],
        serde_json::Value::Null
    );
}

#[test]
fn only_ranges_that_differ_are_asked_about_again_and_narrower() {
    let (site, played) = herd(&THREE);
    // About twelve clients in each of the first ranges.
    all_know(&played, 50_000);
    played[1].script(|script| script.known.remove("client-7"));
    run(&site, &["verify", "--within", "1s"], 1);
    played[0].script(|script| {
        let (first, later) = script.digests.split_first().unwrap();
        assert_eq!((first.first_hash, first.buckets), (0, 4096));
        assert!(!later.is_empty());
        assert!(
            later.iter().all(|request| request.buckets <= 16),
            "{later:?}"
        );
        let size = |request: &DigestRequest| request.last_hash - request.first_hash;
        assert!(later.iter().all(|request| size(request) < 1 << 52));
        let (next, last) = (size(&later[0]), size(later.last().unwrap()));
        assert!(last < next || later.len() == 1, "{later:?}");
    });
}

#[test]
fn a_herd_under_load_is_proven_all_the_same() {
    let (site, played) = herd(&THREE);
    all_know(&played, 2000);
    // On each server there are always some clients that the others do not have
    // there yet, and others after each question.
    for (n, server) in played.iter().enumerate() {
        let mut first = n * 100;
        let mut go_on = move |script: &mut Script| {
            let mut put = |i: usize, time: &str| {
                let moved = known(&format!("client-{}", i % 2000), "+1+1", time, "");
                script
                    .known
                    .insert(moved.report.as_ref().unwrap().client.clone(), moved);
            };
            (first..first + 20).for_each(|i| put(i, "9"));
            first += 20;
            (first..first + 20).for_each(|i| put(i, "10"));
        };
        server.script(|script| {
            go_on(script);
            script.after_digest = Some(Box::new(go_on));
        });
    }
    let json = run_json(&site, &["verify"], 0);
    assert_eq!(json["proven"], true);
    assert!(json["rounds"].as_u64().unwrap() > 1, "{json}");
}

#[test]
fn what_never_settles_is_not_proven_and_not_called_different() {
    let (site, played) = herd(&THREE[..2]);
    all_know(&played, 100);
    let times = AtomicU64::new(100);
    let go_on = |played: &Played| {
        let time = times.fetch_add(1, Relaxed).to_string();
        played.knows(known("client-7", "+1+1", &time, ""));
    };
    let ended = AtomicBool::new(false);
    let json = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                played.iter().for_each(go_on);
                sleep(Duration::from_millis(1));
            }
        });
        let ran = Process::run(&mut site.command(&["verify", "--within", "200ms", "--json"]));
        ended.store(true, Relaxed);
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    });
    assert_eq!(json["proven"], false);
    assert_eq!(json["clients_differing"], 0, "{json}");
    assert_eq!(json["clients_changing"], 1, "{json}");
    assert_eq!(json["clients_equal"], 99, "{json}");
}

#[test]
fn a_server_that_can_not_be_asked_leaves_no_proof() {
    let (site, mut played) = herd(&THREE);
    all_know(&played, 10);
    played[2].script(|script| script.manner = Manner::Hangs);
    let out = run(&site, &["verify", "--timeout", "500ms"], 1).stdout;
    assert!(
        out.starts_with("not proven: 2 servers hold the same, and not all could be asked\n"),
        "{out}"
    );
    assert!(
        out.contains("\nJuzang (127.0.0.1:") && out.contains("no answer within 500ms"),
        "{out}"
    );
    played[2].dies();
    let json = run_json(&site, &["verify"], 1);
    assert_eq!(json["errors"][0]["server"], "Juzang");
    assert_eq!(json["clients_equal"], 10);
    played[1].dies();
    let out = run(&site, &["verify"], 1).stdout;
    assert!(
        out.starts_with("not proven: there is nobody to compare with\n"),
        "{out}"
    );
}

#[test]
fn a_server_that_lost_everything_in_between_leaves_no_proof() {
    let (site, played) = herd(&THREE);
    all_know(&played, 10);
    played[1].script(|script| {
        script.after_digest = Some(Box::new(|script| script.status.incarnation = 99));
        script.known.remove("client-7");
    });
    let out = run(&site, &["verify", "--within", "1s"], 1).stdout;
    assert!(
        out.starts_with("not proven: 2 servers hold the same, "),
        "{out}"
    );
    assert!(out.contains("has restarted meanwhile\n"), "{out}");
}

#[test]
fn one_server_by_two_addresses_proves_nothing() {
    let (site, played) = herd(&THREE[..1]);
    let address = played[0].address();
    let other = address.replace("127.0.0.1", "localhost");
    let twice = ["verify", "--at", &address, "--at", &other];
    let ended = Process::run(&mut site.command_alone(&twice));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told = "at that address is Riley of the herd test";
    assert!(ended.stdout.contains(told), "{ended:?}");
}

#[test]
fn a_busy_server_is_asked_again() {
    let (site, played) = herd(&THREE[..2]);
    all_know(&played, 10);
    let busy = Status::resource_exhausted("too many calls");
    played[0].script(|script| script.manner = Manner::Refuses(busy));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sleep(Duration::from_millis(500));
            played[0].script(|script| script.manner = Manner::Answers);
        });
        run(&site, &["verify"], 0);
    });
}
