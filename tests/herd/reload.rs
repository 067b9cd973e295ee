//! Servers that go over to another plan while they run: limits, members and
//! links. What the program makes of SIGHUP is in `tests/cli/binary/reload.rs`, and
//! what links that come and go do to a herd, under any schedule, in
//! `tests/simulation`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::common::{ALONE, Herd, Life, Mode, Stranger, Topology, eventually};
use proxyherd::model::address::Address;
use proxyherd::model::name::Name;
use proxyherd::model::networks::Network;
use proxyherd::server::ServerPlan;

const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

const TRIANGLE: Topology<'static> = (
    &["Riley", "Jaquez", "Juzang"],
    &[
        ("Riley", "Jaquez"),
        ("Jaquez", "Juzang"),
        ("Riley", "Juzang"),
    ],
);

/// A plan without a neighbour.
fn without(neighbour: &'static str) -> impl Fn(&mut ServerPlan) {
    move |plan| {
        plan.neighbours
            .retain(|(name, _)| name.as_str() != neighbour)
    }
}

#[test]
fn a_connection_keeps_the_limits_that_it_began_with_and_new_ones_have_the_new() {
    let mut herd = Herd::start(ALONE);
    let mut before = herd.client("Riley");
    before.ask("IAMAT kiwi +1+1 1");
    herd.change("Riley", |plan| {
        plan.clients.idle = Duration::from_millis(100);
        plan.clients.max_line = 512;
    });
    let line = format!("IAMAT {} +1+1 1", "x".repeat(600));
    let mut after = herd.client("Riley");
    assert_eq!(after.ask(&line), format!("? {}", &line[..512]));
    // Closed by the server, long after which the other one is still there.
    assert!(after.rest().is_empty());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(before.ask(&line), format!("? {line}"));
}

#[test]
fn fewer_connections_close_nobody_and_more_let_others_in() {
    let mut herd = Herd::start(ALONE);
    let mut clients = [herd.client("Riley"), herd.client("Riley")];
    let mut answer = |at: usize| clients[at].ask("IAMAT kiwi +1+1 1").starts_with("AT ");
    assert!(answer(0) && answer(1));
    herd.change("Riley", |plan| plan.clients.max_connections = 1);
    assert!(answer(0) && answer(1), "those that are there stay");
    assert!(herd.client("Riley").rest_until_cut().is_empty());
    herd.change("Riley", |plan| plan.clients.max_connections = 3);
    assert!(
        herd.client("Riley")
            .ask("IAMAT kiwi +1+1 1")
            .starts_with("AT ")
    );
    assert_eq!(herd.gateway("Riley").counts().turned_away().get(), 1);
}

#[test]
fn who_may_connect_changes_for_those_who_come_and_the_pace_for_all() {
    let mut herd = Herd::start(ALONE);
    let mut before = herd.client("Riley");
    assert_eq!(before.ask("a"), "? a");
    herd.change("Riley", |plan| {
        plan.clients.networks.deny = vec![Network::parse("127.0.0.0/8").unwrap()];
        plan.clients.commands_per_second = Some(10);
    });
    assert!(herd.client("Riley").rest_until_cut().is_empty());
    let start = Instant::now();
    before.send("a\n".repeat(15));
    for _ in 0..15 {
        assert_eq!(before.text(), "? a");
    }
    // Ten at once, and five in half a second.
    assert!(start.elapsed() > Duration::from_millis(400));
    herd.change("Riley", |_| {});
    assert_eq!(herd.client("Riley").ask("a"), "? a");
    let counts = herd.gateway("Riley").counts();
    assert_eq!(counts.denied().get(), 1);
    assert!(counts.put_off().get() > 0);
}

#[test]
fn who_may_monitor_changes_for_those_who_come() {
    let web = |plan: &mut ServerPlan| plan.bind_web = Some(Address::parse("127.0.0.1:0").unwrap());
    let mut herd = Herd::new(ALONE).adjust(web).launch_all();
    let ask = |herd: &Herd| {
        let mut stream = TcpStream::connect(herd.web_address("Riley")).unwrap();
        let mut answer = String::new();
        // A server that closes at once may do so before it is asked.
        let _ = stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(ask(&herd).contains("200 OK"));
    herd.change("Riley", |plan| {
        plan.web.networks.deny = vec![Network::parse("127.0.0.1").unwrap()];
    });
    assert_eq!(ask(&herd), "");
    herd.change("Riley", |_| {});
    assert!(ask(&herd).contains("200 OK"));
}

#[test]
fn what_a_client_may_report_changes_at_once() {
    let mut herd = Herd::alone_at(1_000_000_000_000);
    let mut client = herd.client("Riley");
    herd.change("Riley", |plan| {
        plan.gateway.max_future = Duration::from_secs(5)
    });
    assert_eq!(client.ask("IAMAT a +1+1 1006"), "? IAMAT a +1+1 1006");
    assert!(client.ask("IAMAT a +1+1 1005").starts_with("AT "));
    herd.change("Riley", |plan| plan.gateway.max_clients = 1);
    assert_eq!(client.ask("IAMAT b +1+1 1"), "? IAMAT b +1+1 1");
    herd.change("Riley", |_| {});
    assert!(client.ask("IAMAT b +1+1 1").starts_with("AT "));
    assert!(client.ask("IAMAT a +1+1 1006").starts_with("AT "));
}

#[test]
fn a_server_that_joins_the_herd_is_told_apart_from_a_stranger() {
    let mut herd = Herd::start(ALONE);
    let refused = |herd: &Herd| {
        let calls = Stranger::dial(herd.peers_address("Riley"));
        let greeting = Life::new("Kim", 7, "Riley").greeting();
        calls.greet(&greeting).unwrap_err().message().to_owned()
    };
    let words = refused(&herd);
    assert!(words.starts_with("no server named \"Kim\""), "{words}");
    herd.change("Riley", |plan| {
        plan.members.push(Name::parse("Kim").unwrap())
    });
    let words = refused(&herd);
    assert!(words.starts_with("\"Kim\" is not a neighbour"), "{words}");
}

#[test]
fn a_link_that_hangs_ends_at_once_when_it_is_removed() {
    let patient = |plan: &mut ServerPlan| {
        plan.peers.attempt = Duration::from_secs(60);
        plan.peers.keep_alive = Duration::from_secs(60);
    };
    let mut herd = Herd::new(PAIR).adjust(patient).launch_all();
    herd.set_link("Riley", "Jaquez", Mode::Stall);
    // Its push is under way, and would be for a minute.
    herd.client("Riley").ask("IAMAT kiwi +1+1 1");
    let start = Instant::now();
    herd.change("Riley", without("Jaquez"));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(herd.gateway("Riley").replica().neighbours().count(), 0);
    herd.set_link("Riley", "Jaquez", Mode::Pass);
    herd.change("Riley", |_| {});
    herd.await_links();
    herd.await_everywhere("kiwi", "+1+1");
}

/// Becomes true however a test ends, so that nobody waits for its threads.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn nothing_is_lost_while_links_come_and_go_under_load() {
    const ROUNDS: usize = 12;
    let mut herd = Herd::start(TRIANGLE);
    let is_over = AtomicBool::new(false);
    let mut clients: Vec<_> = TRIANGLE.0.iter().map(|name| herd.client(name)).collect();
    let told: Vec<usize> = std::thread::scope(|scope| {
        let is_over = &is_over;
        let mut loads = Vec::new();
        for (at, client) in clients.iter_mut().enumerate() {
            loads.push(scope.spawn(move || {
                let mut told = 0;
                while !is_over.load(Relaxed) {
                    told += 1;
                    let line = format!("IAMAT client-{at}-{} +1+1 {told}", told % 50);
                    assert!(client.ask(&line).starts_with("AT "));
                }
                told
            }));
        }
        let over = Over(is_over);
        for round in 0..ROUNDS {
            // Another side of the triangle each time, at both of its ends.
            let (a, b) = TRIANGLE.1[round % 3];
            herd.change(a, without(b));
            herd.change(b, without(a));
            herd.change(a, |_| {});
            herd.change(b, |_| {});
            herd.await_links();
        }
        drop(over);
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    });
    for (at, told) in told.into_iter().enumerate() {
        assert!(told > 50, "{told}");
        for time in told - 49..=told {
            let client = format!("client-{at}-{}", time % 50);
            for server in TRIANGLE.0 {
                eventually(&format!("{server} knows {client} of {time}"), || {
                    let line = herd.at_line(server, &client)?;
                    line.trim_end().ends_with(&format!(" {time}")).then_some(())
                });
            }
        }
    }
}
