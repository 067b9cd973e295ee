//! `proxyherd verify`: exit code 0 is a proof, and nothing else has it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use proxyherd::proto::{DigestRequest, KnownReport};
use tonic::Status;

use super::fake_server::{Behaviour, FakeServer, FakeState, at, held_report, herd, run, run_json};
use crate::common::{Client, Herd, Mode, PAIR, Process, Site, eventually};

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
        server.state(|state| assert_eq!(state.digests.len(), 4, "two collects for each"));
    }
}

/// Runs `verify`, which fails, until its output is as expected. On a busy machine a short time is
/// over before all ranges were compared.
fn verify_until(site: &Site, is_expected: impl Fn(&str) -> bool) -> String {
    eventually("the outcome of verify", || {
        let out = run(site, &["verify", "--within", "300ms"], 1).stdout;
        is_expected(&out).then_some(out)
    })
}

#[test]
fn clients_that_differ_are_named_with_the_report_on_each_server() {
    let (site, fakes) = herd(&THREE);
    hold_on_all(&fakes, 300);
    fakes[1].state(|state| state.reports.remove("client-7"));
    fakes[2].hold(held_report("client-8", "+2+2", "10", ""));
    let out = verify_until(&site, |out| {
        out.starts_with("NOT the same: servers differ in 2 clients\n")
    });
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
        fakes[0].state(|state| (state.digests.len() > 5).then_some(()))
    });
    process.kill();
    fakes[0].state(|state| {
        let (first, later) = state.digests.split_at(2);
        let whole = |request: &DigestRequest| (request.ranges[0].level, request.buckets);
        assert!(first.iter().all(|request| whole(request) == (0, 4096)));
        let is_narrow =
            |request: &DigestRequest| request.ranges.len() == 1 && request.buckets <= 16;
        assert!(later.iter().all(is_narrow), "{later:?}");
        let levels = later.iter().map(|request| request.ranges[0].level);
        let levels: Vec<u32> = levels.collect();
        assert!(levels.is_sorted() && levels[0] == 12, "{levels:?}");
        assert!(*levels.last().unwrap() > 12, "{levels:?}");
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
    assert_eq!(json["changing"][0], "client-7", "{json}");
    assert_eq!(json["clients_equal"], 99, "{json}");
}

#[test]
fn servers_that_are_equal_at_every_query_but_move_between_them_are_not_proven() {
    let (site, fakes) = herd(&THREE);
    hold_on_all(&fakes, 100);
    for server in &fakes {
        let mut times = 100..;
        let change = move |state: &mut FakeState| {
            let time = times.next().unwrap().to_string();
            let moved = held_report("client-7", "+1+1", &time, "");
            state.reports.insert("client-7".to_owned(), moved);
        };
        server.state(|state| state.after_digest = Some(Box::new(change)));
    }
    let heading = "not proven: not all ranges were seen equal\nseen equal: 99 clients in ";
    verify_until(&site, |out| {
        out.starts_with(heading) && out.contains("\nnot seen equal: 1 range\n")
    });
}

#[test]
fn equal_sums_that_are_unsettled_are_not_proven() {
    let (site, fakes) = herd(&THREE);
    hold_on_all(&fakes, 100);
    fakes[1].state(|state| state.unsettled = Some("client-7".to_owned()));
    eventually("99 clients are equal, and one range is open", || {
        let json = run_json(&site, &["verify", "--within", "300ms"], 1);
        (json["clients_equal"] == 99 && json["ranges_open"] == 1).then_some(())
    });
    fakes[1].state(|state| state.unsettled = None);
    run(&site, &["verify"], 0);
}

#[test]
fn all_servers_are_compared_as_of_one_time() {
    let (site, fakes) = herd(&THREE);
    hold_on_all(&fakes, 10);
    fakes[1].state(|state| state.status.now = Some(at(1_700_000_500)));
    fakes[2].state(|state| state.reports.remove("client-7"));
    run(&site, &["verify", "--within", "100ms"], 1);
    let times = fakes.iter().map(|server| {
        let digests = server.state(|state| state.digests.clone());
        let times = digests.into_iter().map(|it| it.as_of.unwrap());
        let times: Vec<_> = times.map(|it| (it.seconds, it.nanos)).collect();
        assert!(
            times[0].0 >= 1_700_000_500,
            "the latest clock counts: {times:?}"
        );
        times
    });
    let times: Vec<_> = times.collect();
    assert!(times.iter().all(|it| *it == times[0]), "{times:?}");
}

/// Reports the position of a client to a server over and over, as fast as it answers.
fn move_all_the_time(mut client: Client, position: &str, is_over: &AtomicBool) {
    for round in 0..100_000 {
        if is_over.load(Relaxed) {
            return;
        }
        let line = |n| format!("IAMAT x {position} {}\n", 100 + round * 20 + n);
        let lines: String = (0..20).map(line).collect();
        client.send(lines);
        (0..20).for_each(|_| assert!(client.text().starts_with("AT ")));
    }
}

#[test]
fn servers_that_are_cut_off_are_never_proven_while_a_client_differs() {
    let herd = Herd::start(PAIR);
    let site = Site::new((&["Riley"], &[]), "");
    let lines: Vec<_> = (0..2000).map(|n| format!("IAMAT c{n} +1+1 5\n")).collect();
    let mut riley = herd.client("Riley");
    riley.send(lines.concat());
    lines
        .iter()
        .for_each(|_| assert!(riley.text().starts_with("AT ")));
    let addresses = ["Riley", "Jaquez"].map(|name| herd.peers_address(name).to_string());
    let at = ["--at", &addresses[0], "--at", &addresses[1]];
    let verify = |within| {
        let arguments = [&["verify", "--json", "--within", within], &at[..]].concat();
        let ran = Process::run(&mut site.command_alone(&arguments));
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    };
    eventually("the herd is proven", || {
        (verify("30s")["proven"] == true).then_some(())
    });

    herd.set_link("Riley", "Jaquez", Mode::Cut);
    for (name, position) in [("Riley", "+1+1"), ("Jaquez", "+2+2")] {
        herd.client(name).ask(&format!("IAMAT x {position} 6"));
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (name, position) in [("Riley", "+1+1"), ("Jaquez", "+2+2")] {
            let (client, is_over) = (herd.client(name), &is_over);
            scope.spawn(move || move_all_the_time(client, position, is_over));
        }
        for _ in 0..5 {
            let json = verify("200ms");
            let is_named = ["changing", "differing"].iter().any(|key| {
                let named = json[key].as_array().unwrap().iter();
                named
                    .into_iter()
                    .any(|it| *it == "x" || it["client"] == "x")
            });
            if json["proven"] != false || !is_named {
                is_over.store(true, Relaxed);
                panic!("{json}");
            }
        }
        is_over.store(true, Relaxed);
    });
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
