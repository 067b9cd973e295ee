//! An old process of a server beside its replacement: both call themselves the
//! same, and both push.

use std::time::Duration;

use super::T;
use crate::common::{Herd, Topology, eventually};

const LINE: Topology<'static> = (&["A", "X", "B"], &[("A", "X"), ("X", "B")]);

const CLIENTS: usize = 500;

/// What a way may carry in a quiet second: ten heartbeats, and as many pings
/// or so. A refill is ten times as much.
const QUIET: u64 = 6_000;

/// Reports a client at each server that runs, and waits until those at `ends`
/// know of all.
fn tell_all(herd: &Herd, ends: &[&str], turn: usize) {
    for server in herd.running() {
        let report = format!("IAMAT from-{server} +1+1 {T}.{turn}");
        assert!(herd.client(&server).ask(&report).starts_with("AT "));
    }
    for (server, end) in herd
        .running()
        .iter()
        .flat_map(|s| ends.iter().map(move |e| (s, e)))
    {
        eventually(&format!("{end} hears of turn {turn} from {server}"), || {
            let line = herd.at_line(end, &format!("from-{server}"))?;
            line.ends_with(&format!(" {T}.{turn}\n")).then_some(())
        });
    }
}

/// How much each way carries in a second in which nobody reports.
#[track_caller]
fn assert_quiet(herd: &Herd, what: &str) {
    let ways: Vec<_> = LINE.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
    let said = || {
        ways.iter()
            .map(|(from, to)| herd.said(from, to))
            .collect::<Vec<_>>()
    };
    // What was under way is there, and its answer too.
    std::thread::sleep(Duration::from_millis(300));
    let before = said();
    std::thread::sleep(Duration::from_secs(1));
    for ((way, after), before) in ways.iter().zip(said()).zip(before) {
        // Both of X push the same way.
        let most = if way.0 == "X" { 2 * QUIET } else { QUIET };
        println!("{what}: {way:?} carried {} bytes", after - before);
        assert!((1..most).contains(&(after - before)), "{what}: {way:?}");
    }
}

#[test]
fn an_old_process_beside_its_replacement_costs_nobody_a_report_or_endless_refills() {
    let mut herd = Herd::start(LINE);
    let mut client = herd.client("A");
    for n in 0..CLIENTS {
        client.ask(&format!("IAMAT {n:0>100} +1+1 {T}"));
    }
    herd.await_clients(CLIENTS);
    let old = herd.peers_address("X");
    herd.step_aside("X", "X-old");
    herd.launch("X");
    let new = herd.peers_address("X");
    // All connections still lead to the old one.
    tell_all(&herd, &["A", "B", "X-old"], 1);
    assert_quiet(&herd, "connections to the old one");

    // As if it had been stopped for a while.
    herd.redial("A", "X");
    herd.redial("B", "X");
    tell_all(&herd, &["A", "B", "X"], 2);
    herd.await_clients(CLIENTS + 4);
    assert_quiet(&herd, "connections to the new one");

    // The way leads to both, now this one and now that, and neither needs again
    // what it was told before.
    let before = herd.said("A", "X");
    for turn in 3..9 {
        herd.lead("A", "X", if turn % 2 == 0 { new } else { old });
        herd.lead("B", "X", if turn % 3 == 0 { old } else { new });
        herd.redial("A", "X");
        herd.redial("B", "X");
        tell_all(&herd, &["A", "B"], turn);
    }
    let said = herd.said("A", "X") - before;
    println!("after six changes of the way: {said} bytes");
    assert!(said < 6 * QUIET, "{said} bytes");
    assert_quiet(&herd, "connections to both");
    herd.kill("X-old");
    for end in ["A", "B"] {
        herd.lead(end, "X", new);
        herd.redial(end, "X");
    }
    tell_all(&herd, &["A", "B", "X"], 9);
}
