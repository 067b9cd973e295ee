//! `proxyherd verify`: exit code 0 is a proof, and nothing else has it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use proxyherd::proto::{DigestRequest, KnownReport};
use tonic::Status;

use super::fake_server::{Behaviour, FakeServer, FakeState, held_report, herd, run, run_json};
use crate::common::{Process, eventually};

const THREE: [&str; 3] = ["Riley", "Jaquez", "Juzang"];

fn client(i: usize) -> KnownReport {
    held_report(&format!("client-{i}"), "+1+1", "9", "")
}

fn hold_on_all(fakes: &[FakeServer], clients: usize) {
    for server in fakes {
        (0..clients).for_each(|i| server.hold(client(i)));
    }
}

#[test]
fn servers_that_hold_the_same_reports_are_proven_in_one_round() {
    let (site, fakes) = herd(&THREE);
    hold_on_all(&fakes, 500);
    let out = run(&site, &["verify"], 0).stdout;
    assert!(
        out.starts_with("proven: all 3 servers hold the same reports\n"),
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
    for server in &fakes {
        server.state(|state| assert_eq!(state.digests.len(), 2));
    }
}

#[test]
fn clients_that_differ_are_named_with_the_report_on_each_server() {
    let (site, fakes) = herd(&THREE);
    hold_on_all(&fakes, 300);
    fakes[1].state(|state| state.reports.remove("client-7"));
    fakes[2].hold(held_report("client-8", "+2+2", "10", ""));
    let out = run(&site, &["verify", "--within", "300ms"], 1).stdout;
    assert!(
        out.starts_with("NOT the same: servers differ in 2 clients\n"),
        "{out}"
    );
    assert!(
        out.contains(
            "\nclient-7\n  Riley and Juzang: AT Riley +0.263873386 client-7 +1+1 9\n  \
             Jaquez: no report\n"
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
fn only_ranges_that_differ_are_queried_again_and_narrower() {
    let (site, fakes) = herd(&THREE);
    // About twelve clients in each of the first ranges.
    hold_on_all(&fakes, 50_000);
    fakes[1].state(|state| state.reports.remove("client-7"));
    let process = Process::spawn(&mut site.command(&["verify", "--within", "1h"]));
    eventually("several rounds", || {
        fakes[0].state(|state| (state.digests.len() > 3).then_some(()))
    });
    process.kill();
    fakes[0].state(|state| {
        let (first, later) = state.digests.split_first().unwrap();
        assert_eq!((first.first_hash, first.buckets), (0, 4096));
        assert!(
            later.iter().all(|request| request.buckets <= 16),
            "{later:?}"
        );
        let size = |request: &DigestRequest| request.last_hash - request.first_hash;
        assert!(later.iter().all(|request| size(request) < 1 << 52));
        let (next, last) = (size(&later[0]), size(later.last().unwrap()));
        assert!(last < next, "{later:?}");
    });
}

#[test]
fn a_herd_under_load_is_proven() {
    let (site, fakes) = herd(&THREE);
    hold_on_all(&fakes, 2000);
    // On each server there are always some clients whose report has not reached the
    // others, and others after each query.
    for (n, server) in fakes.iter().enumerate() {
        let mut first = n * 100;
        let mut change = move |state: &mut FakeState| {
            let mut put = |i: usize, time: &str| {
                let moved = held_report(&format!("client-{}", i % 2000), "+1+1", time, "");
                state
                    .reports
                    .insert(moved.report.as_ref().unwrap().client.clone(), moved);
            };
            (first..first + 20).for_each(|i| put(i, "9"));
            first += 20;
            (first..first + 20).for_each(|i| put(i, "10"));
        };
        server.state(|state| {
            change(state);
            state.after_digest = Some(Box::new(change));
        });
    }
    let json = run_json(&site, &["verify"], 0);
    assert_eq!(json["proven"], true);
    assert!(json["rounds"].as_u64().unwrap() > 1, "{json}");
}

#[test]
fn a_client_that_keeps_changing_is_not_proven_and_not_a_difference() {
    let (site, fakes) = herd(&THREE[..2]);
    hold_on_all(&fakes, 100);
    let times = AtomicU64::new(100);
    let change = |server: &FakeServer| {
        let time = times.fetch_add(1, Relaxed).to_string();
        server.hold(held_report("client-7", "+1+1", &time, ""));
    };
    let ended = AtomicBool::new(false);
    let json = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                fakes.iter().for_each(change);
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
fn without_an_answer_of_every_server_there_is_no_proof() {
    let (site, mut fakes) = herd(&THREE);
    hold_on_all(&fakes, 10);
    fakes[2].state(|state| state.behaviour = Behaviour::Hang);
    let out = run(&site, &["verify", "--timeout", "5s"], 1).stdout;
    assert!(
        out.starts_with("not proven: 2 servers hold the same reports, the others gave no answer\n"),
        "{out}"
    );
    assert!(
        out.contains("\nJuzang (127.0.0.1:") && out.contains("no answer within 5s"),
        "{out}"
    );
    fakes[2].stop();
    let json = run_json(&site, &["verify"], 1);
    assert_eq!(json["errors"][0]["server"], "Juzang");
    assert_eq!(json["clients_equal"], 10);
    fakes[1].stop();
    let out = run(&site, &["verify"], 1).stdout;
    assert!(
        out.starts_with("not proven: fewer than two servers answered\n"),
        "{out}"
    );
}

#[test]
fn a_server_that_restarted_in_between_leaves_no_proof() {
    let (site, fakes) = herd(&THREE);
    hold_on_all(&fakes, 10);
    fakes[1].state(|state| {
        state.after_digest = Some(Box::new(|state| state.status.incarnation = 99));
        state.reports.remove("client-7");
    });
    let out = run(&site, &["verify", "--within", "1h"], 1).stdout;
    assert!(
        out.starts_with("not proven: 2 servers hold the same reports, "),
        "{out}"
    );
    assert!(out.contains("restarted during the comparison\n"), "{out}");
}

#[test]
fn two_addresses_of_one_server_prove_nothing() {
    let (site, fakes) = herd(&THREE[..1]);
    let address = fakes[0].address();
    let other = address.replace("127.0.0.1", "localhost");
    let twice = ["verify", "--at", &address, "--at", &other];
    let ended = Process::run(&mut site.command_alone(&twice));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let message = "this address belongs to server Riley of herd test";
    assert!(ended.stdout.contains(message), "{ended:?}");
}

#[test]
fn an_overloaded_server_is_queried_again() {
    let (site, fakes) = herd(&THREE[..2]);
    hold_on_all(&fakes, 10);
    let overloaded = Status::unavailable("too many calls");
    fakes[0].state(|state| state.behaviour = Behaviour::Reject(overloaded));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("two rejected calls", || {
                fakes[0].state(|state| (state.rejected > 1).then_some(()))
            });
            fakes[0].state(|state| state.behaviour = Behaviour::Answer);
        });
        run(&site, &["verify"], 0);
    });
}
