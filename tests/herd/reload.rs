//! Changes of the plan of a running server: limits, members and links. Tests of SIGHUP are
//! in `tests/cli/binary/reload.rs`, and those of added and removed links under any schedule
//! in `tests/simulation`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::{ALONE, FakeSender, Herd, LIMIT, Mode, PAIR, PeerClient, Topology, member};
use crate::load::ClientLoad;
use proxyherd::model::address::Address;
use proxyherd::model::networks::Network;
use proxyherd::server::ServerPlan;

const TRIANGLE: Topology<'static> = (
    &["Riley", "Jaquez", "Juzang"],
    &[
        ("Riley", "Jaquez"),
        ("Jaquez", "Juzang"),
        ("Riley", "Juzang"),
    ],
);

/// Returns a change that removes a neighbour from a plan.
fn without(neighbour: &'static str) -> impl Fn(&mut ServerPlan) {
    move |plan| {
        plan.neighbours
            .retain(|(name, _)| name.as_str() != neighbour)
    }
}

#[test]
fn open_connections_keep_their_limits_and_new_ones_have_the_new_limits() {
    let mut herd = Herd::start(ALONE);
    let mut before = herd.client("Riley");
    before.ask("IAMAT kiwi +1+1 1");
    herd.change("Riley", |plan| {
        plan.clients.idle = Duration::from_secs(2);
        plan.clients.max_line = 512;
    });
    let line = format!("IAMAT {} +1+1 1", "x".repeat(600));
    let mut after = herd.client("Riley");
    assert_eq!(after.ask(&line), format!("? {}", &line[..512]));
    // The server closes the new connection, and not the other one, which is idle for longer.
    assert!(after.rest().is_empty());
    assert_eq!(before.ask(&line), format!("? {line}"));
}

#[test]
fn a_lower_connection_limit_keeps_open_connections_and_a_higher_one_admits_more() {
    let mut herd = Herd::start(ALONE);
    let mut clients = [herd.client("Riley"), herd.client("Riley")];
    let mut answer = |at: usize| clients[at].ask("IAMAT kiwi +1+1 1").starts_with("AT ");
    assert!(answer(0) && answer(1));
    herd.change("Riley", |plan| plan.clients.max_connections = 1);
    assert!(answer(0) && answer(1), "open connections stay");
    assert!(herd.client("Riley").rest_until_cut().is_empty());
    herd.change("Riley", |plan| plan.clients.max_connections = 3);
    assert!(
        herd.client("Riley")
            .ask("IAMAT kiwi +1+1 1")
            .starts_with("AT ")
    );
    assert_eq!(herd.rejected_clients("Riley").max_connections.get(), 1);
}

#[test]
fn access_lists_apply_to_new_connections_and_rate_limits_to_all() {
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
    // Ten at once, and five within half a second.
    assert!(start.elapsed() > Duration::from_millis(400));
    herd.change("Riley", |_| {});
    assert_eq!(herd.client("Riley").ask("a"), "? a");
    let counts = herd.counters("Riley");
    assert_eq!(counts.client_connections_rejected.network.get(), 1);
    assert!(counts.client_reads_delayed.get() > 0);
}

#[test]
fn web_access_lists_apply_to_new_connections() {
    let web = |plan: &mut ServerPlan| plan.bind_web = Some(Address::parse("127.0.0.1:0").unwrap());
    let mut herd = Herd::new(ALONE).adjust(web).launch_all();
    let ask = |herd: &Herd| {
        let mut stream = TcpStream::connect(herd.web_address("Riley")).unwrap();
        let mut answer = String::new();
        // A server that closes immediately may do so before the request.
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
fn limits_of_reports_apply_immediately() {
    let mut herd = Herd::new(ALONE).launched_at(1_000_000_000_000);
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
fn a_server_that_joins_the_herd_is_rejected_as_no_neighbour() {
    let mut herd = Herd::start(ALONE);
    let rejection = |herd: &Herd| {
        let calls = PeerClient::dial(herd.peers_address("Riley"));
        let greeting = FakeSender::new("Kim", 7, "Riley").greeting();
        calls.greet(&greeting).unwrap_err().message().to_owned()
    };
    let message = rejection(&herd);
    assert!(message.starts_with("no server named \"Kim\""), "{message}");
    herd.change("Riley", |plan| plan.members.push(member("Kim")));
    let message = rejection(&herd);
    assert!(
        message.starts_with("\"Kim\" is not a neighbour"),
        "{message}"
    );
}

#[test]
fn removing_a_link_does_not_wait_for_a_push_that_hangs() {
    let attempt = 2 * LIMIT;
    let adjust = move |plan: &mut ServerPlan| {
        plan.peers.attempt = attempt;
        plan.peers.keep_alive = attempt;
    };
    let mut herd = Herd::new(PAIR).adjust(adjust).launch_all();
    herd.set_link("Riley", "Jaquez", Mode::Stall);
    // The push hangs for a whole attempt.
    herd.client("Riley").ask("IAMAT kiwi +1+1 1");
    let start = Instant::now();
    herd.change("Riley", without("Jaquez"));
    assert!(start.elapsed() < attempt);
    assert_eq!(herd.gateway("Riley").replica().neighbours().count(), 0);
    herd.set_link("Riley", "Jaquez", Mode::Pass);
    herd.change("Riley", |_| {});
    herd.await_links();
    herd.await_everywhere("kiwi", "+1+1");
}

#[test]
fn no_report_is_lost_while_links_are_removed_and_added_under_load() {
    const ROUNDS: usize = 12;
    let mut herd = Herd::start(TRIANGLE);
    let load = ClientLoad::start(&herd, TRIANGLE.0, 0);
    for round in 0..ROUNDS {
        // Another side of the triangle each time, at both of its ends.
        let (a, b) = TRIANGLE.1[round % 3];
        herd.change(a, without(b));
        herd.change(b, without(a));
        herd.change(a, |_| {});
        herd.change(b, |_| {});
        herd.await_links();
    }
    load.stop().await_everywhere(&herd);
}
