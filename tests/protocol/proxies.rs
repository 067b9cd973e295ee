//! The PROXY protocol: from the proxies of the config, limits and logs mean the client that the
//! header names; from nobody else a header means anything.

use std::net::{Shutdown, SocketAddr};

use crate::common::{ALONE, Client, Herd, Site, eventually, loopback};
use proxyherd::gateway::ClientSettings;
use proxyherd::model::networks::Network;

/// The address of a proxy, and one that is none.
const PROXY: &str = "127.0.0.2";
const NO_PROXY: &str = "127.0.0.3";

fn network(text: &str) -> Network {
    Network::parse(text).unwrap()
}

/// Starts Riley alone, which takes connections of a proxy.
fn riley(adjust: impl Fn(&mut ClientSettings) + Send + Sync + 'static) -> Herd {
    Herd::new(ALONE)
        .adjust(move |plan| {
            plan.clients.proxies = vec![network(PROXY)];
            adjust(&mut plan.clients);
        })
        .launched_at(0)
}

fn version_1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.200 4711 12000\r\n").into_bytes()
}

/// Returns a header of version 2, with the command LOCAL or PROXY, and with a field to skip.
fn version_2(command: u8, client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 12 + 5]);
    header.extend(client);
    header.extend([192, 0, 2, 200, 0x12, 0x67, 0x2e, 0xe0]);
    header.extend([0x04, 0, 2, b'?', b'\n']);
    header
}

/// Returns the answers to `bytes` of a connection from `from`, which closes its side then.
fn answers(address: SocketAddr, from: &str, bytes: &[u8]) -> String {
    let mut client = Client::connect_from(from, address);
    // Both fail if the server has closed already.
    let _ = client.try_send(bytes);
    let _ = client.sender().shutdown(Shutdown::Write);
    String::from_utf8_lossy(&client.rest_until_cut()).into_owned()
}

#[test]
fn both_versions_are_read_in_one_piece_and_in_many_and_lines_follow() {
    let herd = riley(|_| {});
    let address = herd.clients_address("Riley");
    let headers = [
        version_1("192.0.2.1"),
        version_2(1, [192, 0, 2, 1]),
        version_2(0, [0; 4]),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ];
    for header in headers {
        let whole = [&header[..], b"one\ntwo\n"].concat();
        assert_eq!(answers(address, PROXY, &whole), "? one\n? two\n");
        let mut client = Client::connect_from(PROXY, address);
        for byte in &whole {
            client.send([*byte]);
        }
        assert_eq!(client.finish(), b"? one\n? two\n");
    }
    assert_eq!(herd.rejected_clients("Riley").proxy_header.get(), 0);
}

#[test]
fn limits_per_address_and_access_lists_mean_the_client_that_the_proxy_names() {
    let herd = riley(|limits| {
        limits.connections_per_address = Some(1);
        // The proxy itself is not judged.
        limits.networks.deny = vec![network("198.51.100.0/24"), network(PROXY)];
    });
    let address = herd.clients_address("Riley");
    let serve = |client: &str| {
        let mut connection = Client::connect_from(PROXY, address);
        connection.send(version_1(client));
        connection
    };
    let mut staying = serve("192.0.2.1");
    assert_eq!(staying.ask("a"), "? a");
    assert_eq!(serve("192.0.2.2").ask("b"), "? b", "another client");
    assert_eq!(serve("192.0.2.1").rest_until_cut(), b"", "the same client");
    let rejected = herd.rejected_clients("Riley");
    assert_eq!((rejected.per_address.get(), rejected.network.get()), (1, 0));
    let denied = [version_1("198.51.100.7"), version_2(1, [198, 51, 100, 7])];
    for header in denied {
        let mut connection = Client::connect_from(PROXY, address);
        connection.send(header);
        assert_eq!(connection.rest_until_cut(), b"");
    }
    assert_eq!(rejected.network.get(), 2);
    // A connection of the proxy's own counts as the proxy's, which is denied here.
    let mut own = Client::connect_from(PROXY, address);
    own.send(version_2(0, [192, 0, 2, 9]));
    assert_eq!(own.rest_until_cut(), b"");
    assert_eq!(rejected.network.get(), 3);
    assert_eq!(staying.ask("c"), "? c");
}

#[test]
fn a_reload_changes_the_proxies() {
    let mut herd = riley(|limits| limits.proxies.clear());
    let address = herd.clients_address("Riley");
    let proxied = [version_1("192.0.2.1"), b"a\n".to_vec()].concat();
    let not_read = "? PROXY TCP4 192.0.2.1 192.0.2.200 4711 12000\n? a\n";
    assert_eq!(answers(address, PROXY, &proxied), not_read);
    herd.change("Riley", |plan| plan.clients.proxies = vec![network(PROXY)]);
    assert_eq!(answers(address, PROXY, &proxied), "? a\n");
    herd.change("Riley", |plan| plan.clients.proxies.clear());
    assert_eq!(answers(address, PROXY, &proxied), not_read);
}

#[test]
fn a_connection_of_a_proxy_without_a_header_is_closed_counted_and_logged() {
    let settings = format!("[clients]\nproxies = [\"{PROXY}\"]\n");
    let (site, _process) = Site::up(ALONE, &settings);
    let address = loopback(site.server("Riley").clients);
    assert_eq!(answers(address, PROXY, b"IAMAT kiwi +1+1 1\n"), "");
    let line = site.await_log("Riley", &format!("rejected a connection from {PROXY}:"));
    assert!(
        line.contains("to the client port: it sent no PROXY protocol header")
            && line.contains("[clients] proxies"),
        "{line}"
    );
    // The log means the client.
    let proxied = [version_1("192.0.2.77"), b"hello\n".to_vec()].concat();
    assert_eq!(answers(address, PROXY, &proxied), "? hello\n");
    site.await_log("Riley", "client 192.0.2.77:4711 connected");
    site.await_log("Riley", "client 192.0.2.77:4711 in  hello");
    let end = site.await_log("Riley", "client 192.0.2.77:4711 disconnected");
    assert!(end.ends_with("it closed its side"), "{end}");
    assert!(!site.log("Riley").contains("client 127.0.0.2"));
}

#[test]
fn a_header_from_another_address_is_an_invalid_command_and_the_log_names_the_setting() {
    let settings = format!("[clients]\nproxies = [\"{PROXY}\"]\n");
    let (site, _process) = Site::up(ALONE, &settings);
    let address = loopback(site.server("Riley").clients);
    for header in [version_1("192.0.2.1"), version_2(1, [192, 0, 2, 1])] {
        let answer = answers(address, NO_PROXY, &[&header[..], b"\na\n"].concat());
        assert!(
            answer.starts_with("? ") && answer.ends_with("\n? a\n"),
            "{answer:?}"
        );
    }
    let line = site.await_log("Riley", "sent a PROXY protocol header");
    assert!(
        line.contains("WARN")
            && line.contains("[clients] proxies in the config does not contain")
            && line.contains(NO_PROXY),
        "{line}"
    );
}

#[test]
fn silent_connections_of_a_proxy_keep_no_other_connection_of_it_out() {
    let herd = riley(|_| {});
    let address = herd.clients_address("Riley");
    let silent: Vec<Client> = (0..1024 + 10)
        .map(|_| Client::connect_from(PROXY, address))
        .collect();
    eventually("the oldest are evicted", || {
        (herd.rejected_clients("Riley").evicted.get() >= 10).then_some(())
    });
    let proxied = [version_1("192.0.2.1"), b"a\n".to_vec()].concat();
    assert_eq!(answers(address, PROXY, &proxied), "? a\n");
    drop(silent);
}
