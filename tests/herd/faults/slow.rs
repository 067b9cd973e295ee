//! Links that are far, thin or out of order for long: what is on its way gets
//! across, and nothing piles up.

use std::time::{Duration, Instant};

use proxyherd::gateway::LinkState;

use super::T;
use super::load::Load;
use crate::common::{Fake, Herd, Manner, Mode, Topology, eventually};

const LINE: Topology<'static> = (&["A", "B", "C"], &[("A", "B"), ("B", "C")]);

/// With the settings that servers have by default: they are meant for such links.
fn herd() -> Herd {
    Herd::new(LINE).adjust(|plan| plan.peers = Default::default())
}

/// Reports many clients at a server, each with an ID of 250 bytes.
fn fill(herd: &Herd, server: &str, clients: usize) {
    let mut client = herd.client(server);
    let lines: Vec<_> = (0..clients)
        .map(|n| format!("IAMAT {} +1+1 {T}\n", id(n)))
        .collect();
    // In pieces, so that answers do not fill up while nobody reads them.
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
    let ways = LINE.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
    ways.map(|(from, to)| herd.link(from, to)).collect()
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
fn half_a_second_each_way_delays_reports_by_that_and_takes_no_link_down() {
    let delay = Duration::from_millis(500);
    let mut herd = herd();
    LINE.1
        .iter()
        .for_each(|(a, b)| herd.set_link(a, b, Mode::Delay(delay)));
    LINE.0.iter().for_each(|name| herd.launch(name));
    let start = Instant::now();
    herd.await_links();
    println!("500 ms each way: links are up after {:?}", start.elapsed());
    let before = links(&herd);

    let start = Instant::now();
    herd.client("A").ask(&format!("IAMAT kiwi +1+1 {T}"));
    herd.await_everywhere("kiwi", "+1+1");
    let took = start.elapsed();
    println!("500 ms each way: two links on after {took:?}");
    // Half a second for each link, and up to a round trip more for the answer
    // to a heartbeat.
    assert!((delay * 2..delay * 8).contains(&took), "{took:?}");

    fill(&herd, "A", 3000);
    let load = Load::start(&herd, LINE.0, 0);
    std::thread::sleep(Duration::from_secs(1));
    let served = load.stop();
    served.assert_quick("500 ms each way");
    let took = served.await_everywhere(&herd);
    println!("500 ms each way: all agree {took:?} after the last report");
    assert!(took < delay * 10, "{took:?}");
    assert_never_down(&herd, &before);
}

#[test]
fn a_thin_link_gets_a_backlog_across_once_and_live_reports_behind_it() {
    const CLIENTS: usize = 6000;
    const RATE: u32 = 500_000;
    let mut herd = herd();
    herd.set_link("B", "C", Mode::Throttle(RATE));
    herd.launch("A");
    herd.launch("B");
    fill(&herd, "A", CLIENTS);
    eventually("B has it", || {
        (herd.gateway("B").replica().store().clients() == CLIENTS).then_some(())
    });
    let start = Instant::now();
    herd.launch("C");
    herd.await_links();
    let before = links(&herd);
    let load = Load::start(&herd, &["A", "B"], 0);
    herd.await_everywhere(&id(CLIENTS - 1), "+1+1");
    let took = start.elapsed();
    let served = load.stop();
    served.assert_quick("a thin link");
    let behind = served.await_everywhere(&herd);

    let said = herd.said("B", "C");
    println!("a thin link: {said} bytes in {took:?}, live reports {behind:?} behind it");
    assert!(said > 1_600_000, "a backlog worth its name");
    // What was on its way twice would not fit into this.
    assert!(said < 2_500_000, "{said} bytes");
    let least = Duration::from_secs_f64(said as f64 / f64::from(RATE));
    assert!(took < least * 2, "{took:?}");
    assert!(behind < Duration::from_secs(3), "{behind:?}");
    assert_never_down(&herd, &before);
}

#[test]
fn an_outage_costs_no_memory_and_one_report_for_each_client_in_the_end() {
    const REPORTS: usize = 100_000;
    const CLIENTS: usize = 3;
    let jaquez = Fake::start("Jaquez");
    let mut herd = Herd::new((&["Riley", "Jaquez"], &[("Riley", "Jaquez")]));
    herd.lead("Riley", "Jaquez", jaquez.address());
    herd.set_way("Riley", "Jaquez", Mode::Stall);
    herd.launch("Riley");
    let mut client = herd.client("Riley");
    let report = |n: usize| format!("IAMAT kiwi-{} +1+1 {T}.{n:09}\n", n % CLIENTS);
    let lines: Vec<_> = (0..REPORTS).map(report).collect();
    for lines in lines.chunks(500) {
        client.send(lines.concat());
        lines.iter().for_each(|_| drop(client.line()));
    }
    let store = herd.gateway("Riley").replica().store();
    assert_eq!(store.last(), REPORTS as u64, "each was news");
    assert_eq!((store.feed_entries(), store.clients()), (CLIENTS, CLIENTS));

    jaquez.on_pushes(Manner::Takes);
    herd.set_way("Riley", "Jaquez", Mode::Pass);
    eventually("Jaquez has it", || {
        (jaquez.clients().len() >= CLIENTS).then_some(())
    });
    let full = |pushed: &crate::common::Pushed| !pushed.push.reports.is_empty();
    let pushes: Vec<_> = jaquez.pushes().into_iter().filter(full).collect();
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
