//! Herds over real gRPC: what one server hears, all come to know, whatever
//! happens to servers and to the links between them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::common::{CLASSIC, Client, Fake, Herd, Manner, Mode, Random};
use proxyherd::gateway::Clock;
use proxyherd::log::Log;
use proxyherd::model::timestamp::UnixNanos;

const T: &str = "1621464827";

#[test]
fn a_report_floods_to_every_server() {
    let herd = Herd::start(CLASSIC);
    let answer = herd
        .client("Riley")
        .ask(&format!("IAMAT kiwi +34.068930-118.445127 {T}"));
    herd.await_everywhere("kiwi", "+34.068930-118.445127");
    for server in herd.running() {
        let mut client = herd.client(&server);
        client.send("WHATSAT kiwi 10 0\n");
        assert_eq!(client.places().0, answer, "at {server}");
    }
}

#[test]
fn a_late_starter_gets_all_that_it_missed() {
    let mut herd = Herd::new(CLASSIC);
    for name in &CLASSIC.0[..4] {
        herd.launch(name);
    }
    herd.await_links();
    for n in 0..3000 {
        herd.client("Riley")
            .ask(&format!("IAMAT client-{n} +1+{} {T}", n % 180));
        if n == 0 {
            herd.await_everywhere("client-0", "+1+0");
        }
    }
    herd.launch("Bernard");
    herd.await_clients(3000);
}

#[test]
fn a_quick_restart_is_noticed_and_refilled() {
    let mut herd = Herd::start(CLASSIC);
    herd.client("Jaquez").ask(&format!("IAMAT kiwi +1+1 {T}"));
    herd.await_everywhere("kiwi", "+1+1");
    for _ in 0..3 {
        herd.kill_and_launch("Riley");
        herd.await_everywhere("kiwi", "+1+1");
    }
    herd.client("Riley").ask(&format!("IAMAT kiwi +2+2 {T}.5"));
    herd.await_everywhere("kiwi", "+2+2");
}

#[test]
fn each_side_of_a_cut_goes_on_and_both_agree_after_it() {
    let herd = Herd::start(CLASSIC);
    let side = ["Riley", "Jaquez"];
    herd.set_border(&side, Mode::Cut);
    herd.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    herd.client("Bernard")
        .ask(&format!("IAMAT kiwi +2+2 {T}.1"));
    herd.client("Campbell").ask(&format!("IAMAT plum +3+3 {T}"));
    assert_eq!(herd.position("Riley", "plum"), None);
    herd.set_border(&side, Mode::Pass);
    herd.await_everywhere("kiwi", "+2+2");
    herd.await_everywhere("plum", "+3+3");
}

#[test]
fn a_link_that_carries_nothing_is_found_out_and_heals() {
    let herd = Herd::start((&["A", "B"], &[("A", "B")]));
    herd.set_link("A", "B", Mode::Stall);
    herd.client("A").ask(&format!("IAMAT kiwi +1+1 {T}"));
    crate::common::eventually("A takes the link down", || {
        (!herd.is_up("A", "B")).then_some(())
    });
    assert_eq!(herd.position("B", "kiwi"), None);
    herd.set_link("A", "B", Mode::Pass);
    herd.await_everywhere("kiwi", "+1+1");
}

#[test]
fn a_drained_server_leaves_nothing_behind() {
    let mut herd = Herd::start(CLASSIC);
    let mut client = herd.client("Riley");
    for n in 0..500 {
        client.send(format!("IAMAT client-{n} +1+1 {T}\n"));
    }
    for _ in 0..500 {
        assert!(client.text().starts_with("AT Riley "));
    }
    assert_eq!(herd.drain("Riley"), 0);
    herd.await_clients(500);
}

/// Waits until all servers that run hold the very same report of a client.
#[track_caller]
fn await_agreement(herd: &Herd, client: &str) -> String {
    crate::common::eventually(&format!("all agree on {client}"), || {
        let mut lines = herd.running().into_iter();
        let first = herd.at_line(&lines.next()?, client)?;
        let is_same = |server: String| herd.at_line(&server, client).as_ref() == Some(&first);
        lines.all(is_same).then_some(first)
    })
}

#[test]
fn every_split_of_the_five_in_two_heals() {
    let herd = Herd::new(CLASSIC).adjust(|plan| {
        // Heals as it would by default, only sooner.
        plan.peers.backoff_cap = Duration::from_millis(100);
    });
    let herd = herd.launch_all();
    let (all, start) = (CLASSIC.0, Instant::now());
    // Each split has one side without Bernard, the last.
    for split in 1..1 << (all.len() - 1) {
        let side: Vec<_> = (0..all.len())
            .filter(|n| split >> n & 1 == 1)
            .map(|n| all[n])
            .collect();
        herd.set_border(&side, Mode::Cut);
        for (n, server) in all.iter().enumerate() {
            let mut client = herd.client(server);
            client.ask(&format!("IAMAT on-{split}-{server} +1+1 {T}"));
            client.ask(&format!("IAMAT all +{split}+{n} {T}.{split:02}"));
        }
        let (here, there) = (side[0], all[all.len() - 1]);
        assert_eq!(herd.position(there, &format!("on-{split}-{here}")), None);
        assert_eq!(herd.position(here, &format!("on-{split}-{there}")), None);
        herd.set_border(&side, Mode::Pass);
        for server in all {
            herd.await_everywhere(&format!("on-{split}-{server}"), "+1+1");
        }
        // Of equal times the greatest origin wins, which is Riley's.
        herd.await_everywhere("all", &format!("+{split}+0"));
    }
    println!("15 splits healed in {:?}", start.elapsed());
}

#[test]
fn equal_times_on_two_servers_settle_the_same_everywhere() {
    let herd = Herd::start(CLASSIC);
    let mut clients: Vec<_> = CLASSIC.0.iter().map(|name| herd.client(name)).collect();
    for n in 0..50 {
        // Before anyone can have heard of the other four.
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(format!("IAMAT tie-{n} +{at}+{n} {T}\n"));
        }
        for client in &mut clients {
            client.text();
        }
    }
    for n in 0..50 {
        let line = await_agreement(&herd, &format!("tie-{n}"));
        assert!(line.starts_with("AT Riley "), "the greatest origin: {line}");
        assert!(line.contains(&format!(" +0+{n} ")), "{line}");
    }
}

#[test]
fn equal_times_on_one_server_settle_the_same_everywhere() {
    let mut herd = Herd::new(CLASSIC);
    for name in CLASSIC.0 {
        herd.launch_with(name, Clock::new(|| UnixNanos(0)), Log::off());
    }
    herd.await_links();
    let ways = ["+0+0", "-0+0", "+0+0/", "+00+0"];
    for (n, way) in ways.iter().enumerate() {
        herd.client("Campbell").ask(&format!("IAMAT tie {way} 7"));
        herd.client("Campbell")
            .ask(&format!("IAMAT tie {way} 7.{}", "0".repeat(n + 1)));
    }
    let line = await_agreement(&herd, "tie");
    assert_eq!(
        line, "AT Campbell -7.000000000 tie -0+0 7.00\n",
        "the greatest texts"
    );
}

/// Asks a server for as long as it is told to: reports itself, and asks for
/// itself. Gives how often, and the longest wait for an answer.
fn converse(client: &mut Client, name: &str, go_on: &AtomicBool) -> (usize, Duration) {
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    while go_on.load(Relaxed) {
        let start = Instant::now();
        let line = client.ask(&format!("IAMAT {name} +1+1 {T}.{rounds:09}"));
        assert!(line.starts_with("AT "), "{line}");
        client.send(format!("WHATSAT {name} 10 0\n"));
        assert_eq!(client.places().0, line);
        longest = longest.max(start.elapsed());
        rounds += 1;
        // A few hundred clients' worth, and no more: others use this machine.
        std::thread::sleep(Duration::from_millis(1));
    }
    (rounds, longest)
}

/// Ends conversations when it is dropped, also by a test that fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

#[test]
fn clients_of_others_notice_nothing_while_each_server_in_turn_is_restarted() {
    let mut herd = Herd::start(CLASSIC);
    let mut longest = Duration::ZERO;
    for (turn, restarted) in CLASSIC.0.iter().enumerate() {
        let others: Vec<_> = CLASSIC.0.iter().filter(|name| *name != restarted).collect();
        let mut clients: Vec<_> = others.iter().map(|name| herd.client(name)).collect();
        let go_on = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let stop = Stop(&go_on);
            let talk = |(client, server)| {
                let (name, go_on) = (format!("at-{server}-{turn}"), &go_on);
                scope.spawn(move || converse(client, &name, go_on))
            };
            let talks: Vec<_> = clients.iter_mut().zip(&others).map(talk).collect();
            // What it hears last, nobody else has when it is told to stop.
            herd.client(restarted)
                .ask(&format!("IAMAT last-{turn} +2+2 {T}"));
            assert_eq!(herd.drain(restarted), 0);
            herd.launch(restarted);
            herd.await_links();
            herd.await_everywhere(&format!("last-{turn}"), "+2+2");
            drop(stop);
            for talk in talks {
                let (rounds, wait) = talk.join().unwrap();
                assert!(rounds > 0);
                longest = longest.max(wait);
            }
        });
        for server in others {
            await_agreement(&herd, &format!("at-{server}-{turn}"));
        }
    }
    println!("longest wait of a client: {longest:?}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

#[test]
fn a_neighbour_that_hangs_or_is_dead_slows_nobody() {
    const ROUNDS: usize = 100;
    let slow = Fake::start("Slow");
    let mut herd = Herd::new((
        &["Hub", "Quick", "Slow", "Dead"],
        &[("Hub", "Quick"), ("Hub", "Slow"), ("Hub", "Dead")],
    ));
    herd.lead("Hub", "Slow", slow.address());
    herd.set_way("Hub", "Dead", Mode::Stall);
    herd.launch("Hub");
    herd.launch("Quick");
    herd.await_links();
    crate::common::eventually("the slow one is greeted", || {
        herd.is_up("Hub", "Slow").then_some(())
    });
    slow.on_pushes(Manner::Hangs);
    let mut client = herd.client("Hub");
    let mut waits: Vec<_> = (0..ROUNDS)
        .map(|n| {
            let start = Instant::now();
            client.ask(&format!("IAMAT kiwi +1+{n} {T}.{n:03}"));
            crate::common::eventually("Quick hears of it", || {
                let position = herd.position("Quick", "kiwi");
                (position == Some(format!("+1+{n}"))).then_some(())
            });
            start.elapsed()
        })
        .collect();
    waits.sort();
    println!(
        "from Hub to Quick: median {:?}, longest {:?}",
        waits[ROUNDS / 2],
        waits[ROUNDS - 1]
    );
    assert!(slow.clients().contains(&"kiwi".to_owned()), "it did hang");
    assert!(waits[ROUNDS / 2] < Duration::from_millis(100), "{waits:?}");
}

#[test]
fn servers_started_together_are_linked_soon() {
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let mut herd = Herd::new(CLASSIC).adjust(|plan| plan.peers = Default::default());
            for name in &CLASSIC.0[..4] {
                herd.launch(name);
            }
            let start = Instant::now();
            herd.launch(CLASSIC.0[4]);
            herd.await_links();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("all links up after the last start: {times:?}");
    // 300 ms are promised; a machine that is busy has a second.
    assert!(times[2] < Duration::from_secs(1), "{times:?}");
}

#[test]
fn a_drain_counts_what_nobody_got() {
    let pair: crate::common::Topology<'_> = (&["A", "B"], &[("A", "B")]);
    let mut herd = Herd::new(pair);
    herd.launch("A");
    for n in 0..3 {
        herd.client("A").ask(&format!("IAMAT early-{n} +1+1 {T}"));
    }
    assert_eq!(herd.drain("A"), 3, "B never ran");

    herd.launch("A");
    herd.launch("B");
    herd.await_links();
    herd.client("A").ask(&format!("IAMAT shared +1+1 {T}"));
    herd.client("B").ask(&format!("IAMAT theirs +1+1 {T}"));
    herd.await_everywhere("shared", "+1+1");
    herd.await_everywhere("theirs", "+1+1");
    herd.kill("B");
    crate::common::eventually("A notices", || (!herd.is_up("A", "B")).then_some(()));
    herd.client("A").ask(&format!("IAMAT late +1+1 {T}"));
    herd.client("A").ask(&format!("IAMAT shared +2+2 {T}.1"));
    assert_eq!(herd.drain("A"), 2);
}

/// One thing that may happen to the five, other than that clients report.
fn trouble(herd: &mut Herd, random: &mut Random, running: &mut Vec<&str>) {
    let modes = [Mode::Pass, Mode::Pass, Mode::Cut, Mode::Stall];
    let (a, b) = CLASSIC.1[random.below(CLASSIC.1.len())];
    match random.below(8) {
        0..=3 => herd.set_link(a, b, modes[random.below(modes.len())]),
        4 => herd.set_way(a, b, modes[random.below(modes.len())]),
        5 if running.len() > 2 => {
            let gone = running.remove(random.below(running.len()));
            match random.below(2) {
                0 => herd.kill(gone),
                _ => drop(herd.drain(gone)),
            }
        }
        _ => {
            let stopped = CLASSIC.0.iter().find(|name| !running.contains(name));
            if let Some(name) = stopped {
                herd.launch(name);
                running.push(name);
            }
        }
    }
}

#[test]
fn whatever_happens_all_agree_after_it_and_what_a_living_server_took_is_not_lost() {
    const CLIENTS: usize = 40;
    for seed in 1..=4 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let herd = Herd::new(CLASSIC).adjust(|plan| {
            plan.peers.drain = Duration::from_millis(200);
            plan.peers.backoff_cap = Duration::from_millis(200);
        });
        let mut herd = herd.launch_all();
        let mut running = CLASSIC.0.to_vec();
        // Of each client the last report, which is the newest, and who took it
        // in which of its lives.
        let mut last = vec![None; CLIENTS];
        for n in 0..300 {
            if random.below(4) == 0 {
                trouble(&mut herd, &mut random, &mut running);
            }
            let (server, client) = (running[random.below(running.len())], random.below(CLIENTS));
            herd.client(server)
                .ask(&format!("IAMAT c-{client} +1+1 {n}"));
            last[client] = Some((server, herd.incarnation(server), n));
        }
        for (a, b) in CLASSIC.1 {
            herd.set_link(a, b, Mode::Pass);
        }
        for name in CLASSIC.0.iter().filter(|name| !running.contains(name)) {
            herd.launch(name);
        }
        herd.await_links();
        for (client, last) in last.iter().enumerate() {
            let Some((server, incarnation, n)) = last else {
                continue;
            };
            if herd.incarnation(server) == *incarnation {
                let line = await_agreement(&herd, &format!("c-{client}"));
                assert!(line.ends_with(&format!(" {n}\n")), "not {n}: {line}");
            } else {
                await_agreement_if_any(&herd, &format!("c-{client}"));
            }
        }
    }
}

/// As [`await_agreement`], or that nobody has a report of the client.
#[track_caller]
fn await_agreement_if_any(herd: &Herd, client: &str) {
    crate::common::eventually(&format!("all agree on {client}, if any knows it"), || {
        let mut lines = herd.running().into_iter();
        let first = herd.at_line(&lines.next()?, client);
        let is_same = |server: String| herd.at_line(&server, client) == first;
        lines.all(is_same).then_some(())
    });
}
