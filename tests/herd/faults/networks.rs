//! Networks that fail between servers. Each side serves its clients, and all servers agree
//! after the failure.

use std::time::Duration;

use crate::common::{CLASSIC, Herd, Mode, eventually, linked};
use crate::load::ClientLoad;

/// One side of the five; the other is larger.
const SIDE: [&str; 2] = ["Riley", "Jaquez"];

/// The links between that side and the other.
const BORDER: [(&str, &str); 2] = [("Riley", "Juzang"), ("Jaquez", "Bernard")];

/// Runs a load at all servers through `trouble`, heals the herd, and waits until all servers
/// agree.
#[track_caller]
fn endure(herd: &Herd, turn: usize, trouble: impl FnOnce(&ClientLoad)) {
    let load = ClientLoad::start(herd, CLASSIC.0, turn);
    trouble(&load);
    let reports = load.stop();
    for (a, b) in CLASSIC.1 {
        herd.set_link(a, b, Mode::Pass);
    }
    reports.await_everywhere(herd);
}

#[track_caller]
fn await_down(herd: &Herd, links: &[(&str, &str)]) {
    for (a, b) in links {
        eventually(
            &format!("the link of {a} and {b} is down at both ends"),
            || (!herd.is_up(a, b) && !herd.is_up(b, a)).then_some(()),
        );
    }
}

#[test]
fn one_way_links_are_detected_by_both_ends_and_heal() {
    let herd = Herd::start(CLASSIC);
    endure(&herd, 0, |_| {
        BORDER.iter().for_each(|(a, b)| herd.set_one_way(a, b));
        await_down(&herd, &BORDER);
    });
    endure(&herd, 1, |_| {
        BORDER.iter().for_each(|(a, b)| herd.set_one_way(b, a));
        await_down(&herd, &BORDER);
    });
}

#[test]
fn links_that_accept_connections_and_carry_nothing_are_detected_and_heal() {
    let herd = Herd::start(CLASSIC);
    endure(&herd, 0, |load| {
        herd.set_border(&SIDE, Mode::Stall);
        await_down(&herd, &BORDER);
        // New connections carry nothing either.
        load.await_rounds();
        await_down(&herd, &BORDER);
    });
}

#[test]
fn flapping_links_heal() {
    let herd = Herd::start(CLASSIC);
    endure(&herd, 0, |_| {
        for n in 0..60 {
            let (a, b) = CLASSIC.1[n % CLASSIC.1.len()];
            herd.set_link(a, b, Mode::Cut);
            std::thread::sleep(Duration::from_millis(20));
            // Some links return at once, others only after several more cuts.
            if n % 4 != 0 {
                herd.set_link(a, b, Mode::Pass);
            }
        }
    });
}

#[test]
fn half_open_connections_are_detected_and_replaced() {
    let herd = Herd::new(CLASSIC).adjust(|plan| plan.peers = Default::default());
    let herd = herd.launch_all();
    let load = ClientLoad::start(&herd, CLASSIC.0, 0);
    for (a, b) in CLASSIC.1 {
        herd.set_link(a, b, Mode::HalfOpen);
    }
    load.stop().await_everywhere(&herd);
}

#[test]
fn a_neighbour_that_crashes_without_closing_connections_is_filled_after_its_restart() {
    let mut herd = Herd::start(CLASSIC);
    let load = ClientLoad::start(&herd, &CLASSIC.0[..4], 0);
    for n in [2, 3, 5] {
        let (other, bernard) = CLASSIC.1[n];
        herd.set_connections(other, bernard, Mode::HalfOpen);
    }
    herd.restart("Bernard");
    load.stop().await_everywhere(&herd);
}

#[test]
fn two_servers_that_consider_each_other_dead_reconnect() {
    let herd = Herd::new(linked(&["A", "B"], &[("A", "B")]));
    let herd = herd
        .adjust(|plan| plan.peers = Default::default())
        .launch_all();
    let load = ClientLoad::start(&herd, &["A", "B"], 0);
    herd.set_link("A", "B", Mode::Cut);
    await_down(&herd, &[("A", "B")]);
    // Until both retry at the longest interval.
    std::thread::sleep(Duration::from_secs(2));
    let reports = load.stop();
    herd.set_link("A", "B", Mode::Pass);
    reports.await_everywhere(&herd);
    herd.await_links();
}
