//! An old process of a server beside its replacement: both have the same name, and both push.

use std::time::{Duration, Instant};

use super::T;
use crate::common::{Herd, Topology, eventually};

const LINE: Topology<'static> = (&["A", "X", "B"], &[("A", "X"), ("X", "B")]);

const CLIENTS: usize = 500;

/// The maximum number of bytes that a direction carries in an idle second: ten heartbeats and
/// some pings. A refill has ten times as many.
const MAX_IDLE_BYTES: u64 = 6_000;

/// Reports a client at each running server, and waits until each server of `ends` has all of
/// these reports.
fn report_everywhere(herd: &Herd, ends: &[&str], turn: usize) {
    for server in herd.running() {
        let report = format!("IAMAT from-{server} +1+1 {T}.{turn}");
        assert!(herd.client(&server).ask(&report).starts_with("AT "));
    }
    for (server, end) in herd
        .running()
        .iter()
        .flat_map(|s| ends.iter().map(move |e| (s, e)))
    {
        eventually(&format!("{end} has report {turn} of {server}"), || {
            let line = herd.at_line(end, &format!("from-{server}"))?;
            line.ends_with(&format!(" {T}.{turn}")).then_some(())
        });
    }
}

/// Waits for a second in which every direction carries only heartbeats. With endless refills
/// there is none.
#[track_caller]
fn await_idle(herd: &Herd, what: &str) {
    let pairs: Vec<_> = LINE.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
    let sent = || {
        let sent = pairs.iter().map(|(from, to)| herd.bytes_sent(from, to));
        sent.collect::<Vec<_>>()
    };
    eventually(&format!("an idle second: {what}"), || {
        let before = sent();
        std::thread::sleep(Duration::from_secs(1));
        let mut carried = pairs.iter().zip(sent().into_iter().zip(before));
        carried
            .all(|(&(from, _), (after, before))| {
                // Both processes of X push over the same link.
                let processes = if from == "X" { 2 } else { 1 };
                (1..processes * MAX_IDLE_BYTES).contains(&(after - before))
            })
            .then_some(())
    });
}

#[test]
fn an_old_process_beside_its_replacement_causes_neither_loss_nor_endless_refills() {
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
    // All connections still lead to the old process.
    report_everywhere(&herd, &["A", "B", "X-old"], 1);
    await_idle(&herd, "connections to the old process");

    // As after a pause of the old process.
    herd.redial("A", "X");
    herd.redial("B", "X");
    report_everywhere(&herd, &["A", "B", "X"], 2);
    herd.await_clients(CLIENTS + 4);
    await_idle(&herd, "connections to the new process");

    // Connections lead to both in alternation, and neither needs earlier reports again.
    let (before, start) = (herd.bytes_sent("A", "X"), Instant::now());
    for turn in 3..9 {
        herd.redirect("A", "X", if turn % 2 == 0 { new } else { old });
        herd.redirect("B", "X", if turn % 3 == 0 { old } else { new });
        herd.redial("A", "X");
        herd.redial("B", "X");
        report_everywhere(&herd, &["A", "B"], turn);
    }
    let sent = herd.bytes_sent("A", "X") - before;
    let seconds = start.elapsed().as_secs() + 1;
    println!("six changes of the process: {sent} bytes in {seconds} s");
    assert!(sent < (6 + seconds) * MAX_IDLE_BYTES, "{sent} bytes");
    await_idle(&herd, "connections to both");
    herd.kill("X-old");
    for end in ["A", "B"] {
        herd.redirect(end, "X", new);
        herd.redial(end, "X");
    }
    report_everywhere(&herd, &["A", "B", "X"], 9);
}
