//! Links with a long delay, a low bandwidth or a long outage. Every report crosses them, and
//! nothing accumulates.

use std::time::Duration;

use proxyherd::gateway::LinkState;

use super::T;
use crate::common::{FakeNeighbour, Herd, Mode, PAIR, ResponseMode, Topology, eventually};
use crate::load::ClientLoad;
use proxyherd::peers::PeerSettings;

const LINE: Topology<'static> = (&["A", "B", "C"], &[("A", "B"), ("B", "C")]);

/// Returns a herd with the default settings, which are meant for such links. Only its time
/// limits are longer, because the machine of a test may be as slow as the link.
fn herd() -> Herd {
    Herd::new(LINE).adjust(|plan| {
        let defaults = PeerSettings::default();
        plan.peers = PeerSettings {
            attempt: 5 * defaults.attempt,
            keep_alive_timeout: 5 * defaults.keep_alive_timeout,
            ..defaults
        };
    })
}

/// Reports clients with IDs of 250 bytes at a server.
fn fill(herd: &Herd, server: &str, clients: usize) {
    let mut client = herd.client(server);
    let lines: Vec<_> = (0..clients)
        .map(|n| format!("IAMAT {} +1+1 {T}\n", id(n)))
        .collect();
    // In pieces, so that unread answers do not fill the buffers.
    for lines in lines.chunks(200) {
        client.send(lines.concat());
        lines
            .iter()
            .for_each(|_| assert!(client.text().starts_with("AT ")));
    }
}

fn id(n: usize) -> String {
    format!("{n:0>250}")
}

fn links(herd: &Herd) -> Vec<LinkState> {
    let directions = LINE.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
    directions.map(|(from, to)| herd.link(from, to)).collect()
}

#[track_caller]
fn assert_never_down(herd: &Herd, before: &[LinkState]) {
    for (now, before) in links(herd).iter().zip(before) {
        assert!(
            now.is_up && now.since == before.since,
            "{now:?}, before {before:?}"
        );
    }
}

#[test]
fn a_delay_of_half_a_second_takes_no_link_down() {
    let delay = Duration::from_millis(500);
    let mut herd = herd();
    for (a, b) in LINE.1 {
        herd.set_link(a, b, Mode::Delay(delay));
    }
    LINE.0.iter().for_each(|name| herd.launch(name));
    herd.await_links();
    let before = links(&herd);
    herd.client("A").ask(&format!("IAMAT kiwi +1+1 {T}"));
    herd.await_everywhere("kiwi", "+1+1");
    fill(&herd, "A", 3000);
    let load = ClientLoad::start(&herd, LINE.0, 0);
    load.stop().await_everywhere(&herd);
    assert_never_down(&herd, &before);
}

#[test]
fn a_link_of_low_bandwidth_carries_a_backlog_once() {
    const CLIENTS: usize = 6000;
    const BYTES_PER_SECOND: u32 = 500_000;
    let mut herd = herd();
    herd.set_link("B", "C", Mode::Throttle(BYTES_PER_SECOND));
    herd.launch("A");
    herd.launch("B");
    fill(&herd, "A", CLIENTS);
    eventually("B has the backlog", || {
        (herd.gateway("B").replica().store().clients() == CLIENTS).then_some(())
    });
    herd.launch("C");
    herd.await_links();
    let before = links(&herd);
    let load = ClientLoad::start(&herd, &["A", "B"], 0);
    herd.await_everywhere(&id(CLIENTS - 1), "+1+1");
    load.stop().await_everywhere(&herd);

    let sent = herd.bytes_sent("B", "C");
    println!("{sent} bytes");
    // The backlog alone is more than the first bound. Sent twice it would exceed the second.
    assert!((1_600_000..3_000_000).contains(&sent), "{sent} bytes");
    assert_never_down(&herd, &before);
}

#[test]
fn an_outage_costs_no_memory_and_ends_with_one_report_of_each_client() {
    const REPORTS: usize = 100_000;
    const CLIENTS: usize = 3;
    let jaquez = FakeNeighbour::start("Jaquez");
    let mut herd = Herd::new(PAIR);
    herd.redirect("Riley", "Jaquez", jaquez.address());
    herd.set_connections("Riley", "Jaquez", Mode::Stall);
    herd.launch("Riley");
    let mut client = herd.client("Riley");
    let report = |n: usize| format!("IAMAT kiwi-{} +1+1 {T}.{n:09}\n", n % CLIENTS);
    let lines: Vec<_> = (0..REPORTS).map(report).collect();
    for lines in lines.chunks(500) {
        client.send(lines.concat());
        lines.iter().for_each(|_| drop(client.line()));
    }
    let store = herd.gateway("Riley").replica().store();
    assert_eq!(store.last(), REPORTS as u64, "each report is newer");
    assert_eq!((store.feed_entries(), store.clients()), (CLIENTS, CLIENTS));

    jaquez.respond_to_pushes(ResponseMode::Accept);
    herd.set_connections("Riley", "Jaquez", Mode::Pass);
    eventually("Jaquez has every client", || {
        (jaquez.clients().len() >= CLIENTS).then_some(())
    });
    let has_reports = |pushed: &crate::common::ReceivedPush| !pushed.push.reports.is_empty();
    let pushes: Vec<_> = jaquez.pushes().into_iter().filter(has_reports).collect();
    assert_eq!(pushes.len(), 1);
    let times: Vec<_> = pushes[0]
        .push
        .reports
        .iter()
        .map(|r| r.time.clone())
        .collect();
    let last = REPORTS - CLIENTS..REPORTS;
    assert_eq!(
        times,
        last.map(|n| format!("{T}.{n:09}")).collect::<Vec<_>>()
    );
    assert_eq!(pushes[0].push.to_sequence, REPORTS as u64);
}
