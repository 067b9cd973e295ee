//! Herds over real gRPC: a report at one server reaches all servers, through restarts of
//! servers and failures of links.

use std::time::Duration;

use crate::common::{
    CLASSIC, FakeNeighbour, Herd, LIMIT, Mode, Random, ResponseMode, eventually, linked,
};
use crate::load::ClientLoad;
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
fn a_server_that_starts_late_catches_up() {
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
fn a_server_catches_up_after_a_quick_restart() {
    let mut herd = Herd::start(CLASSIC);
    herd.client("Jaquez").ask(&format!("IAMAT kiwi +1+1 {T}"));
    herd.await_everywhere("kiwi", "+1+1");
    for _ in 0..3 {
        herd.restart("Riley");
        herd.await_everywhere("kiwi", "+1+1");
    }
    herd.client("Riley").ask(&format!("IAMAT kiwi +2+2 {T}.5"));
    herd.await_everywhere("kiwi", "+2+2");
}

#[test]
fn both_sides_of_a_partition_serve_clients_and_agree_after_it() {
    let herd = Herd::start(CLASSIC);
    let side = ["Riley", "Jaquez"];
    herd.partition(&side);
    herd.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    herd.client("Bernard")
        .ask(&format!("IAMAT kiwi +2+2 {T}.1"));
    herd.client("Campbell").ask(&format!("IAMAT plum +3+3 {T}"));
    assert_eq!(herd.position("Riley", "plum"), None);
    herd.heal_all();
    herd.settle();
    assert_eq!(herd.position("Riley", "kiwi").unwrap(), "+2+2");
    assert_eq!(herd.position("Riley", "plum").unwrap(), "+3+3");
}

#[test]
fn a_link_that_carries_nothing_is_detected_and_heals() {
    let herd = Herd::start(linked(&["A", "B"], &[("A", "B")]));
    herd.set_link("A", "B", Mode::Stall);
    herd.client("A").ask(&format!("IAMAT kiwi +1+1 {T}"));
    eventually("A takes the link down", || {
        (!herd.is_up("A", "B")).then_some(())
    });
    assert_eq!(herd.position("B", "kiwi"), None);
    herd.set_link("A", "B", Mode::Pass);
    herd.await_everywhere("kiwi", "+1+1");
}

#[test]
fn a_drained_server_loses_no_report() {
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

#[test]
fn every_partition_of_the_five_in_two_heals() {
    let herd = Herd::new(CLASSIC).adjust(|plan| {
        // Links heal sooner than with the default.
        plan.peers.backoff_cap = Duration::from_millis(100);
    });
    let herd = herd.launch_all();
    let all = CLASSIC.0;
    // Each partition has one side without Bernard, the last.
    for split in 1..1 << (all.len() - 1) {
        let side: Vec<_> = (0..all.len())
            .filter(|n| split >> n & 1 == 1)
            .map(|n| all[n])
            .collect();
        herd.partition(&side);
        for (n, server) in all.iter().enumerate() {
            let mut client = herd.client(server);
            client.ask(&format!("IAMAT on-{split}-{server} +1+1 {T}"));
            client.ask(&format!("IAMAT all +{split}+{n} {T}.{split:02}"));
        }
        let (here, there) = (side[0], all[all.len() - 1]);
        assert_eq!(herd.position(there, &format!("on-{split}-{here}")), None);
        assert_eq!(herd.position(here, &format!("on-{split}-{there}")), None);
        herd.heal_all();
        for server in all {
            herd.await_everywhere(&format!("on-{split}-{server}"), "+1+1");
        }
        // Of equal times the greatest origin is kept, which is Riley.
        herd.await_everywhere("all", &format!("+{split}+0"));
    }
}

#[test]
fn servers_agree_on_reports_of_equal_times_at_different_servers() {
    let herd = Herd::start(CLASSIC);
    let mut clients: Vec<_> = CLASSIC.0.iter().map(|name| herd.client(name)).collect();
    for n in 0..50 {
        // Before a server can have the reports of the other four.
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(format!("IAMAT tie-{n} +{at}+{n} {T}\n"));
        }
        for client in &mut clients {
            client.text();
        }
    }
    herd.settle();
    for n in 0..50 {
        let line = herd.at_line("Bernard", &format!("tie-{n}")).unwrap();
        assert!(line.starts_with("AT Riley "), "the greatest origin: {line}");
        assert!(line.contains(&format!(" +0+{n} ")), "{line}");
    }
}

#[test]
fn servers_agree_on_reports_of_equal_times_at_one_server() {
    let mut herd = Herd::new(CLASSIC);
    for name in CLASSIC.0 {
        herd.launch_with(name, Clock::new(|| UnixNanos(0)), Log::off());
    }
    herd.await_links();
    let positions = ["+0+0", "-0+0", "+0+0/", "+00+0"];
    for (n, position) in positions.iter().enumerate() {
        herd.client("Campbell")
            .ask(&format!("IAMAT tie {position} 7"));
        herd.client("Campbell")
            .ask(&format!("IAMAT tie {position} 7.{}", "0".repeat(n + 1)));
    }
    herd.settle();
    let line = herd.at_line("Riley", "tie").unwrap();
    assert_eq!(
        line, "AT Campbell -7.000000000 tie -0+0 7.00",
        "the greatest texts"
    );
}

#[test]
fn a_restart_of_each_server_in_turn_does_not_affect_clients_of_the_others() {
    let mut herd = Herd::start(CLASSIC);
    for (turn, restarted) in CLASSIC.0.iter().enumerate() {
        let mut others = CLASSIC.0.to_vec();
        others.retain(|name| name != restarted);
        let load = ClientLoad::start(&herd, &others, turn);
        // No other server has the last report when the drain begins.
        herd.client(restarted)
            .ask(&format!("IAMAT last-{turn} +2+2 {T}"));
        assert_eq!(herd.drain(restarted), 0);
        load.await_rounds();
        herd.launch(restarted);
        herd.await_links();
        herd.await_everywhere(&format!("last-{turn}"), "+2+2");
        load.stop().await_everywhere(&herd);
    }
}

#[test]
fn a_neighbour_that_hangs_or_is_dead_does_not_delay_others() {
    let slow = FakeNeighbour::start("Slow");
    let herd = Herd::new(linked(
        &["Hub", "Quick", "Slow", "Dead"],
        &[("Hub", "Quick"), ("Hub", "Slow"), ("Hub", "Dead")],
    ));
    // A server that waits for a neighbour exceeds the time limit of the test.
    let mut herd = herd.adjust(|plan| {
        plan.peers.attempt = 2 * LIMIT;
        plan.peers.keep_alive = 2 * LIMIT;
    });
    herd.redirect("Hub", "Slow", slow.address());
    herd.set_connections("Hub", "Dead", Mode::Stall);
    herd.launch("Hub");
    herd.launch("Quick");
    herd.await_links();
    eventually("the slow neighbour is greeted", || {
        herd.is_up("Hub", "Slow").then_some(())
    });
    slow.respond_to_pushes(ResponseMode::Hang);
    let mut client = herd.client("Hub");
    for n in 0..100 {
        client.ask(&format!("IAMAT kiwi +1+{n} {T}.{n:03}"));
        eventually("Quick has the report", || {
            let position = herd.position("Quick", "kiwi");
            (position == Some(format!("+1+{n}"))).then_some(())
        });
    }
    eventually("a push hangs", || {
        slow.clients().contains(&"kiwi".to_owned()).then_some(())
    });
    let lines: String = (0..2000)
        .map(|n| format!("IAMAT plum-{n} +1+1 {T}\n"))
        .collect();
    for lines in lines.as_bytes().chunks(20_000) {
        let expected = lines.iter().filter(|&&byte| byte == b'\n').count();
        client.send(lines);
        (0..expected).for_each(|_| assert!(client.text().starts_with("AT Hub ")));
    }
    let is_pending = slow
        .pushes()
        .iter()
        .any(|pushed| !pushed.is_acknowledged && !pushed.push.reports.is_empty());
    assert!(
        is_pending,
        "clients are answered before the neighbour answers"
    );
}

#[test]
fn servers_with_default_settings_link_to_one_that_starts_last() {
    let mut herd = Herd::new(CLASSIC).adjust(|plan| plan.peers = Default::default());
    for name in CLASSIC.0 {
        herd.launch(name);
    }
    herd.await_links();
}

#[test]
fn a_drain_counts_reports_that_no_neighbour_received() {
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
    eventually("A detects it", || (!herd.is_up("A", "B")).then_some(()));
    herd.client("A").ask(&format!("IAMAT late +1+1 {T}"));
    herd.client("A").ask(&format!("IAMAT shared +2+2 {T}.1"));
    assert_eq!(herd.drain("A"), 2);
}

/// Changes a link or stops or starts a server of the five, at random.
fn cause_trouble(herd: &mut Herd, random: &mut Random, running: &mut Vec<&str>) {
    let modes = [Mode::Pass, Mode::Pass, Mode::Cut, Mode::Stall];
    let (a, b) = CLASSIC.1[random.below(CLASSIC.1.len())];
    match random.below(8) {
        0..=3 => herd.set_link(a, b, modes[random.below(modes.len())]),
        4 => herd.set_connections(a, b, modes[random.below(modes.len())]),
        5 if running.len() > 2 => {
            let stopped = running.remove(random.below(running.len()));
            match random.below(2) {
                0 => herd.kill(stopped),
                _ => drop(herd.drain(stopped)),
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
fn servers_agree_after_any_trouble_and_reports_of_surviving_incarnations_are_kept() {
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
        // Of each client the last report, which is the newest, with the server and the
        // incarnation that received it.
        let mut last = vec![None; CLIENTS];
        for n in 0..300 {
            if random.below(4) == 0 {
                cause_trouble(&mut herd, &mut random, &mut running);
            }
            let (server, client) = (running[random.below(running.len())], random.below(CLIENTS));
            herd.client(server)
                .ask(&format!("IAMAT c-{client} +1+1 {n}"));
            last[client] = Some((server, herd.incarnation(server), n));
        }
        herd.heal_all();
        for name in CLASSIC.0.iter().filter(|name| !running.contains(name)) {
            herd.launch(name);
        }
        herd.await_links();
        herd.settle();
        for (client, last) in last.iter().enumerate() {
            let Some((server, incarnation, n)) = last else {
                continue;
            };
            if herd.incarnation(server) == *incarnation {
                let line = herd.at_line("Riley", &format!("c-{client}")).unwrap();
                assert!(line.ends_with(&format!(" {n}")), "not {n}: {line}");
            }
        }
    }
}
