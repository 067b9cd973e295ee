//! Networks that fail between servers: each side goes on serving its clients,
//! and soon after the failure all agree again.

use std::time::{Duration, Instant};

use super::load::{Load, Served};
use crate::common::{CLASSIC, Herd, Mode, eventually};

/// One side of the five; the other is larger.
const SIDE: [&str; 2] = ["Riley", "Jaquez"];

/// The links between that side and the other.
const BORDER: [(&str, &str); 2] = [("Riley", "Juzang"), ("Jaquez", "Bernard")];

/// Within two seconds or so all agree after a failure; a busy machine has more.
const HEALED: Duration = Duration::from_secs(4);

/// Lets clients talk with all servers until `trouble` has ended, then heals the
/// herd and waits until all agree.
#[track_caller]
fn endure(name: &str, herd: &Herd, turn: usize, trouble: impl FnOnce()) {
    let load = Load::start(herd, CLASSIC.0, turn);
    trouble();
    let served = load.stop();
    served.assert_quick(name);
    CLASSIC
        .1
        .iter()
        .for_each(|(a, b)| herd.set_link(a, b, Mode::Pass));
    assert_healed(name, herd, &served);
}

#[track_caller]
fn assert_healed(name: &str, herd: &Herd, served: &Served) {
    let took = served.await_everywhere(herd);
    println!("{name}: all agree after {took:?}");
    assert!(took < HEALED, "{name}: {took:?}");
}

#[track_caller]
fn await_down(herd: &Herd, links: &[(&str, &str)]) {
    for (a, b) in links {
        eventually(&format!("{a} and {b} find out"), || {
            (!herd.is_up(a, b) && !herd.is_up(b, a)).then_some(())
        });
    }
}

#[test]
fn links_that_carry_one_way_only_are_found_out_by_both_ends_and_heal() {
    let herd = Herd::start(CLASSIC);
    endure("one-way links", &herd, 0, || {
        BORDER.iter().for_each(|(a, b)| herd.set_one_way(a, b));
        await_down(&herd, &BORDER);
    });
    endure("one-way links, the other way", &herd, 1, || {
        BORDER.iter().for_each(|(a, b)| herd.set_one_way(b, a));
        await_down(&herd, &BORDER);
    });
}

#[test]
fn links_that_take_connections_and_carry_nothing_are_found_out_and_heal() {
    let herd = Herd::start(CLASSIC);
    endure("silent links", &herd, 0, || {
        herd.set_border(&SIDE, Mode::Stall);
        await_down(&herd, &BORDER);
        // New connections are as silent as the old ones.
        std::thread::sleep(Duration::from_millis(500));
        await_down(&herd, &BORDER);
    });
}

#[test]
fn links_that_flap_heal_when_they_have_settled() {
    let herd = Herd::start(CLASSIC);
    endure("flapping links", &herd, 0, || {
        for n in 0..60 {
            let (a, b) = CLASSIC.1[n % CLASSIC.1.len()];
            herd.set_link(a, b, Mode::Cut);
            std::thread::sleep(Duration::from_millis(20));
            // Some come back for a moment, some only after several others.
            if n % 4 != 0 {
                herd.set_link(a, b, Mode::Pass);
            }
        }
    });
}

#[test]
fn connections_that_are_half_open_are_found_out_and_dialled_anew() {
    let herd = Herd::new(CLASSIC).adjust(|plan| plan.peers = Default::default());
    let herd = herd.launch_all();
    let load = Load::start(&herd, CLASSIC.0, 0);
    for (a, b) in CLASSIC.1 {
        herd.set_link(a, b, Mode::HalfOpen);
    }
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    let served = load.stop();
    served.assert_quick("half-open connections");
    served.await_everywhere(&herd);
    let took = start.elapsed();
    println!("half-open connections: all agree after {took:?}");
    // A silence of one second, two for an answer, and another dial.
    assert!(took < Duration::from_secs(7), "{took:?}");
}

#[test]
fn a_neighbour_that_died_without_a_word_and_is_back_is_refilled() {
    let mut herd = Herd::start(CLASSIC);
    let load = Load::start(&herd, &CLASSIC.0[..4], 0);
    for n in [2, 3, 5] {
        let (other, bernard) = CLASSIC.1[n];
        herd.set_way(other, bernard, Mode::HalfOpen);
    }
    herd.kill_and_launch("Bernard");
    std::thread::sleep(Duration::from_secs(1));
    let served = load.stop();
    served.assert_quick("a neighbour that died without a word");
    assert_healed("a neighbour that died without a word", &herd, &served);
}

#[test]
fn two_servers_that_each_take_the_other_for_dead_find_each_other_again() {
    let herd = Herd::new((&["A", "B"], &[("A", "B")]));
    let herd = herd
        .adjust(|plan| plan.peers = Default::default())
        .launch_all();
    let load = Load::start(&herd, &["A", "B"], 0);
    herd.set_link("A", "B", Mode::Cut);
    await_down(&herd, &[("A", "B")]);
    // Until both try as seldom as they ever will.
    std::thread::sleep(Duration::from_secs(2));
    let served = load.stop();
    served.assert_quick("two that take each other for dead");
    herd.set_link("A", "B", Mode::Pass);
    assert_healed("two that take each other for dead", &herd, &served);
    herd.await_links();
}
