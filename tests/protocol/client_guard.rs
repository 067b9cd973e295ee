//! Networks that may connect, connections per address, and the rate limit: a client gets no more
//! than the config allows, and no other client is affected.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::common::{ALONE, Client, Herd, Site, eventually, loopback};
use proxyherd::gateway::ClientSettings;
use proxyherd::model::address::Address;
use proxyherd::model::networks::{Network, Networks};

/// Addresses of two clients. On Linux both are of this machine.
const ONE: &str = "127.0.0.1";
const OTHER: &str = "127.0.0.2";

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Starts Riley alone with changed limits.
fn riley(adjust: impl Fn(&mut ClientSettings) + Send + Sync + 'static) -> Herd {
    Herd::new(ALONE)
        .adjust(move |plan| adjust(&mut plan.clients))
        .launched_at(0)
}

fn networks(allow: &[&str], deny: &[&str]) -> Networks {
    let parse = |texts: &[&str]| {
        let parse = |text: &&str| Network::parse(text).unwrap();
        texts.iter().map(parse).collect()
    };
    Networks {
        allow: parse(allow),
        deny: parse(deny),
    }
}

fn client(herd: &Herd, from: &str) -> Client {
    Client::connect_from(from, herd.clients_address("Riley"))
}

/// Returns true if a client from this address is served, and false if it is closed without an
/// answer.
fn is_served(address: SocketAddr, from: &str) -> bool {
    let mut visitor = Client::connect_from(from, address);
    // Fails if the server has closed already.
    let _ = visitor.try_send("x\n");
    let _ = visitor.sender().shutdown(Shutdown::Write);
    match &*visitor.rest_until_cut() {
        b"" => false,
        b"? x\n" => true,
        other => panic!("{other:?}"),
    }
}

// Networks.

#[test]
fn clients_from_all_networks_may_connect_by_default() {
    let herd = riley(|_| {});
    for from in [ONE, OTHER] {
        assert!(is_served(herd.clients_address("Riley"), from));
    }
    assert_eq!(herd.rejected_clients("Riley").network.get(), 0);
}

#[test]
fn a_denied_address_is_rejected_even_if_it_is_allowed_and_others_are_served() {
    let herd = riley(|limits| limits.networks = networks(&["127.0.0.0/8"], &["127.0.0.2"]));
    let address = herd.clients_address("Riley");
    for times in 1..=5 {
        assert!(is_served(address, ONE));
        assert!(!is_served(address, OTHER));
        let counts = herd.counters("Riley");
        assert_eq!(counts.client_connections_rejected.network.get(), times);
        assert_eq!(counts.client_connections_accepted.get(), times);
        assert_eq!(counts.client_connections_rejected.max_connections.get(), 0);
    }
}

#[test]
fn if_some_networks_are_allowed_all_others_are_rejected() {
    let herd = riley(|limits| limits.networks = networks(&["127.0.0.2/31", "10.0.0.0/8"], &[]));
    let address = herd.clients_address("Riley");
    assert!(is_served(address, OTHER));
    assert!(is_served(address, "127.0.0.3"));
    assert!(!is_served(address, ONE));
}

#[test]
fn a_client_that_connects_by_ipv4_to_an_ipv6_socket_counts_as_ipv4() {
    let anywhere = Address::parse("[::]:0").unwrap();
    let herd = Herd::new(ALONE)
        .adjust(move |plan| {
            plan.bind_clients = anywhere.clone();
            plan.clients.networks = networks(&["127.0.0.0/8"], &["127.0.0.2"]);
            plan.clients.connections_per_address = Some(1);
        })
        .launched_at(0);
    let port = herd.clients_address("Riley").port();
    let address = loopback(port);
    assert!(!is_served(address, OTHER));
    let mut staying = Client::connect_from(ONE, address);
    assert_eq!(staying.ask("a"), "? a");
    // As IPv6 addresses, all of ::ffff:0:0/96 would be in one /64.
    assert!(is_served(address, "127.0.0.3"));
    assert!(!is_served(address, ONE));
    // IPv6, if this machine has it.
    if let Ok(mut six) = Client::try_connect(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))) {
        assert_eq!(six.rest_until_cut(), b"", "::1 is not allowed");
    }
}

#[test]
fn rejections_by_network_are_logged_once_with_their_cause() {
    let (site, _process) = Site::up(ALONE, "[clients]\ndeny = [\"127.0.0.2\"]\n");
    let address = loopback(site.server("Riley").clients);
    for _ in 0..20 {
        assert!(!is_served(address, OTHER));
    }
    let line = site.await_log("Riley", "rejected a connection");
    let expected = "in [clients] of the config, deny contains 127.0.0.2";
    assert!(line.contains(expected), "{line}");
    assert!(is_served(address, ONE));
    assert_eq!(
        site.log("Riley").matches("rejected a connection").count(),
        1
    );
}

// Connections per address.

#[test]
fn an_address_may_open_connections_up_to_its_limit_and_again_when_one_closes() {
    let herd = riley(|limits| limits.connections_per_address = Some(2));
    let address = herd.clients_address("Riley");
    let (mut staying, mut leaving) = (client(&herd, ONE), client(&herd, ONE));
    assert_eq!(staying.ask("a"), "? a");
    assert_eq!(leaving.ask("b"), "? b");
    for times in 1..=5 {
        assert!(!is_served(address, ONE));
        assert_eq!(herd.rejected_clients("Riley").per_address.get(), times);
        assert!(
            is_served(address, OTHER),
            "another address is below its limit"
        );
    }
    drop(leaving);
    for _ in 0..5 {
        eventually("another connection is admitted", || {
            is_served(address, ONE).then_some(())
        });
    }
    assert_eq!(staying.ask("a"), "? a");
    assert_eq!(herd.rejected_clients("Riley").max_connections.get(), 0);
}

#[test]
fn rejections_by_address_are_logged_once_with_the_setting_to_raise() {
    let (site, _process) = Site::up(ALONE, "[limits]\nconnections_per_address = 1\n");
    let mut staying = site.client("Riley");
    assert_eq!(staying.ask("a"), "? a");
    let address = loopback(site.server("Riley").clients);
    for _ in 0..20 {
        assert!(!is_served(address, ONE));
    }
    let line = site.await_log(
        "Riley",
        "rejected a connection from 127.0.0.1 to the client port: 1 from there",
    );
    assert!(
        line.contains("WARN") && line.contains("raise connections_per_address"),
        "{line}"
    );
    assert_eq!(
        site.log("Riley").matches("rejected a connection").count(),
        1
    );
}

// Commands per second.

/// Returns numbered lines and their answers.
fn lines(range: Range<usize>) -> (String, String) {
    let line = |n| match n % 3 {
        0 => format!("IAMAT client-{n} +1+1 0\n"),
        _ => format!("line {n}\n"),
    };
    let answer = |n| match n % 3 {
        0 => format!("AT Riley +0.000000000 client-{n} +1+1 0\n"),
        _ => format!("? line {n}\n"),
    };
    (
        range.clone().map(line).collect(),
        range.map(answer).collect(),
    )
}

/// Reads the answers to all lines of the range, and fails if one is wrong.
fn read_answers(client: &mut Client, range: Range<usize>) {
    let (_, answers) = lines(range);
    for answer in answers.split_inclusive('\n') {
        assert_eq!(String::from_utf8(client.line()).unwrap(), answer);
    }
}

#[test]
fn lines_over_the_rate_limit_are_delayed_and_answered_in_order() {
    let herd = riley(|limits| limits.commands_per_second = Some(100));
    let mut fast = client(&herd, ONE);
    let start = Instant::now();
    fast.send(lines(0..250).0);
    read_answers(&mut fast, 0..250);
    let took = start.elapsed();
    assert!(took >= seconds(1.5), "{took:?}");
    assert!(herd.counters("Riley").client_reads_delayed.get() > 0);
}

#[test]
fn a_rate_limited_address_does_not_delay_another() {
    let herd = riley(|limits| limits.commands_per_second = Some(1));
    let mut fast = client(&herd, ONE);
    // They take minutes: the other client is answered long before.
    fast.send(lines(0..300).0);
    read_answers(&mut fast, 0..1);
    let mut other = client(&herd, OTHER);
    assert_eq!(other.ask("a"), "? a");
    let reports = herd.gateway("Riley").replica().store().clients();
    assert!(reports < 100, "{reports} of 100 reports were taken");
}

#[test]
fn all_connections_of_an_address_share_its_rate_limit() {
    let herd = riley(|limits| limits.commands_per_second = Some(100));
    let start = Instant::now();
    let mut clients = [0, 1, 2, 3].map(|_| client(&herd, ONE));
    for client in &mut clients {
        client.send(lines(0..60).0);
    }
    let ends = clients.map(|mut client| {
        std::thread::spawn(move || {
            read_answers(&mut client, 0..60);
            Instant::now()
        })
    });
    let ends = ends.map(|end| end.join().unwrap() - start);
    let last = ends.iter().max().unwrap();
    assert!(*last >= seconds(1.4), "{ends:?}");
}

#[test]
fn reconnecting_does_not_evade_the_rate_limit() {
    let herd = riley(|limits| limits.commands_per_second = Some(50));
    let start = Instant::now();
    for _ in 0..15 {
        let mut client = client(&herd, ONE);
        client.send(lines(0..10).0);
        read_answers(&mut client, 0..10);
    }
    assert!(start.elapsed() >= seconds(2.0), "{:?}", start.elapsed());
}

#[test]
fn a_rate_limited_client_that_half_closes_gets_all_answers() {
    let herd = riley(|limits| limits.commands_per_second = Some(20));
    let start = Instant::now();
    let mut client = client(&herd, ONE);
    let (sent, mut answers) = lines(0..40);
    client.send(sent + "no end");
    answers += "? no end\n";
    assert_eq!(String::from_utf8(client.finish()).unwrap(), answers);
    assert!(start.elapsed() >= seconds(1.05), "{:?}", start.elapsed());
}

#[test]
fn a_last_line_without_lf_is_rate_limited_too() {
    let herd = riley(|limits| limits.commands_per_second = Some(10));
    let mut last = client(&herd, ONE);
    // It is read together with what is answered.
    assert_eq!(last.send("a\nno end").text(), "? a");
    let mut fast = client(&herd, ONE);
    fast.send(lines(0..20).0);
    read_answers(&mut fast, 0..11);
    assert_eq!(last.finish(), b"? no end\n");
    read_answers(&mut fast, 11..20);
}

#[test]
fn a_rate_limited_client_is_not_idle() {
    let idle = seconds(0.2);
    let herd = riley(move |limits| {
        limits.commands_per_second = Some(2);
        limits.idle = idle;
    });
    let mut client = client(&herd, ONE);
    client.send(lines(0..5).0);
    read_answers(&mut client, 0..5);
    assert_eq!(client.rest(), b"", "then it is idle");
}

#[test]
fn a_server_that_shuts_down_answers_what_it_read_without_a_rate_limit() {
    let mut herd = riley(|limits| limits.commands_per_second = Some(1));
    let mut client = client(&herd, ONE);
    client.send(lines(0..50).0);
    read_answers(&mut client, 0..1);
    // At the rate limit these would take longer than the server waits.
    herd.drain("Riley");
    read_answers(&mut client, 1..50);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_rate_limited_client_cannot_fill_the_server_s_memory() {
    let herd = riley(|limits| limits.commands_per_second = Some(1));
    let mut sender = client(&herd, ONE).sender();
    sender.set_write_timeout(Some(seconds(0.3))).unwrap();
    let (more, mut sent) = ("x\n".repeat(50_000), 0);
    while let Ok(taken) = sender.write(more.as_bytes()) {
        sent += taken;
        // The system buffers some megabytes.
        assert!(sent < 64 << 20, "the server reads on");
    }
    let mut other = client(&herd, OTHER);
    assert_eq!(other.ask("a"), "? a");
}

#[test]
fn a_rate_limited_client_that_disconnects_frees_its_connection() {
    let herd = riley(|limits| {
        limits.commands_per_second = Some(1);
        limits.connections_per_address = Some(1);
    });
    let mut fast = client(&herd, ONE);
    fast.send(lines(0..1000).0);
    read_answers(&mut fast, 0..1);
    drop(fast);
    eventually("its connection ended", || {
        (herd.counters("Riley").client_connections() == 0).then_some(())
    });
    let mut next = client(&herd, ONE);
    assert_eq!(next.ask("a"), "? a");
}

#[test]
fn a_rate_limited_address_is_logged_once_with_the_setting_to_raise() {
    let (site, _process) = Site::up(ALONE, "[limits]\ncommands_per_second = 200\n");
    let mut client = site.client("Riley");
    client.send("x\n".repeat(260));
    for _ in 0..260 {
        assert_eq!(client.text(), "? x");
    }
    let line = site.await_log("Riley", "is rate limited");
    let expected = "127.0.0.1 is rate limited: it sends more than 200 commands a second";
    assert!(line.contains("WARN") && line.contains(expected), "{line}");
    assert!(line.contains("raise commands_per_second"), "{line}");
    assert_eq!(site.log("Riley").matches("is rate limited").count(), 1);
}
