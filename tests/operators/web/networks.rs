//! Networks that may connect to the web port.

use std::io::{Read, Write};
use std::net::SocketAddr;

use proxyherd::model::networks::Network;

use super::metrics_page::MetricsPage;
use super::with_web;
use crate::common::{ALONE, Client, Herd, dial_from};

/// Requests `/healthz` from a local address. Returns the response, empty if the connection is
/// closed.
fn scrape(address: SocketAddr, from: &str) -> String {
    let mut stream = dial_from(from, address).unwrap();
    let mut response = String::new();
    // Fails if the server has already closed the connection.
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let _ = stream.read_to_string(&mut response);
    response
}

fn network(text: &str) -> Vec<Network> {
    vec![Network::parse(text).unwrap()]
}

#[test]
fn connections_from_denied_networks_are_closed_and_counted() {
    let herd = Herd::new(ALONE)
        .adjust(|plan| {
            with_web(plan);
            plan.web.networks.allow = network("127.0.0.0/30");
            plan.web.networks.deny = network("127.0.0.2");
        })
        .launch_all();
    let web = herd.web_address("Riley");
    assert!(scrape(web, "127.0.0.3").starts_with("HTTP/1.1 200 OK"));
    assert_eq!(scrape(web, "127.0.0.2"), "");
    assert_eq!(scrape(web, "127.0.0.4"), "");
    // The networks of [web] do not apply to clients.
    let mut client = Client::connect_from("127.0.0.4", herd.clients_address("Riley"));
    assert_eq!(client.ask("a"), "? a");
    let page = MetricsPage::of(web);
    assert_eq!(page.rejected("web", "network"), 2.0);
    assert_eq!(page.rejected("web", "evicted"), 0.0);
}
