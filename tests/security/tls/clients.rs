//! Clients with TLS: the same protocol on another port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxyherd::model::address::Address;
use proxyherd::model::networks::Network;
use proxyherd::tls::HandshakeErrorKind;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;

use super::logs::ServerLog;
use crate::common::{ALONE, Client, Herd, LIMIT, Pki, client_config, days, eventually, server};

type TlsClient = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// Returns a herd of one server with a port for clients with TLS.
fn riley(pki: &Arc<Pki>) -> Herd {
    let pki = pki.clone();
    Herd::new(ALONE).adjust(move |plan| {
        let name = plan.name.as_str();
        let pair = pki.issue("clients", &server(name, "test"), days(-1, 30));
        plan.clients_tls = Some((Address::parse("127.0.0.1:0").unwrap(), pair));
    })
}

fn connect(address: SocketAddr, config: ClientConfig, name: &str) -> TlsClient {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    BufReader::new(StreamOwned::new(tls, stream))
}

fn client(herd: &Herd, pki: &Pki) -> TlsClient {
    let config = client_config(&pki.path("ca.pem"), None);
    connect(herd.clients_tls_address("Riley"), config, "127.0.0.1")
}

fn ask(client: &mut TlsClient, line: &str) -> String {
    client
        .get_mut()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    answer
}

#[test]
fn the_protocol_is_the_same_with_tls_and_without_a_certificate_of_the_client() {
    let pki = Arc::new(Pki::new());
    let herd = riley(&pki).launch_all();
    let mut secure = client(&herd, &pki);
    let at_line = ask(&mut secure, "IAMAT kiwi +34.0-118.4 1621464827.9");
    assert!(at_line.starts_with("AT Riley +"), "{at_line}");
    assert_eq!(ask(&mut secure, "hello"), "? hello\n");
    let mut plain = herd.client("Riley");
    assert_eq!(plain.ask("WHATSAT kiwi 0 0") + "\n", at_line);
    // Each of the names of the certificate is accepted.
    let config = client_config(&pki.path("ca.pem"), None);
    let address = herd.clients_tls_address("Riley");
    let mut named = connect(address, config, "riley.test.proxyherd");
    assert_eq!(ask(&mut named, "again"), "? again\n");
}

#[test]
fn the_web_port_uses_the_same_certificate() {
    let pki = Arc::new(Pki::new());
    let issued = pki.clone();
    let herd = Herd::new(ALONE).adjust(move |plan| {
        let pair = issued.issue("web", &server(plan.name.as_str(), "test"), days(-1, 30));
        plan.bind_web = Some(Address::parse("127.0.0.1:0").unwrap());
        plan.web_tls = Some(pair);
    });
    let herd = herd.launch_all();
    let web = herd.web_address("Riley");
    let mut secure = connect(web, client_config(&pki.path("ca.pem"), None), "127.0.0.1");
    let request = "GET /api/v1/clients HTTP/1.1\r\nHost: localhost\r\n\r\n";
    secure.get_mut().write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    secure.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    // A caller without TLS is told to use it.
    let plain = crate::common::http_send(web, request);
    assert_eq!(plain.status, 400);
    assert!(plain.body.contains("write https://"), "{}", plain.body);
    let rejected = &herd.counters("Riley").web_connections_rejected;
    assert_eq!(rejected.tls.of(HandshakeErrorKind::Plaintext).get(), 1);
}

#[test]
fn a_session_ends_after_close_notify_and_every_line_is_answered() {
    let pki = Arc::new(Pki::new());
    let herd = riley(&pki).launch_all();
    let mut secure = client(&herd, &pki);
    secure.get_mut().write_all(b"one\ntwo").unwrap();
    let inner = secure.get_mut();
    inner.conn.send_close_notify();
    inner.conn.write_tls(&mut inner.sock).unwrap();
    let mut rest = String::new();
    secure.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "? one\n? two\n");
}

#[test]
fn many_pending_responses_all_arrive() {
    let pki = Arc::new(Pki::new());
    let herd = riley(&pki).launch_all();
    let secure = client(&herd, &pki);
    let lines = "a line that comes back, and not too short a one\n".repeat(50_000);
    let mut inner = secure.into_inner();
    let mut sock = inner.sock.try_clone().unwrap();
    // Responses are read only after all lines are sent, so that they accumulate.
    inner.conn.set_buffer_limit(None);
    inner.conn.complete_io(&mut inner.sock).unwrap();
    inner.conn.writer().write_all(lines.as_bytes()).unwrap();
    let mut sealed = Vec::new();
    while inner.conn.wants_write() {
        inner.conn.write_tls(&mut sealed).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(move || sock.write_all(&sealed).unwrap());
        std::thread::sleep(Duration::from_millis(200));
        let mut answers = vec![0; lines.len() + 2 * 50_000];
        inner.read_exact(&mut answers).unwrap();
        let expected = lines.replace("a line", "? a line");
        assert!(answers == expected.as_bytes());
    });
}

/// Returns a connection with a small receive buffer.
fn narrow(address: SocketAddr) -> TcpStream {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = runtime.block_on(async {
        let connected = socket.connect(address).await;
        connected.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Bytes that the system does not accept stay in the TLS layer, which has to be flushed when there
/// is room again: no later write takes them along. Their number depends on the system, so many
/// sizes are tried.
#[test]
fn the_end_of_a_response_arrives_whatever_the_client_left_unread() {
    let pki = Arc::new(Pki::new());
    let herd = riley(&pki).launch_all();
    let line = format!("{}\n", "x".repeat(1021));
    for kilobytes in (4..=512).step_by(8) {
        let config = Arc::new(client_config(&pki.path("ca.pem"), None));
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        let mut secure = StreamOwned::new(tls, narrow(herd.clients_tls_address("Riley")));
        // In single writes, so that all lines are answered before the client reads.
        for _ in 0..kilobytes {
            secure.write_all(line.as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        let mut answers = vec![0; kilobytes * (line.len() + 2)];
        secure.read_exact(&mut answers).unwrap();
        assert!(answers.ends_with(&line.as_bytes()[1000..]));
    }
}

#[test]
fn max_connections_counts_both_ports() {
    let pki = Arc::new(Pki::new());
    let pair = pki.issue("clients", &server("Riley", "test"), days(-1, 30));
    let herd = Herd::new(ALONE).adjust(move |plan| {
        let anywhere = Address::parse("127.0.0.1:0").unwrap();
        plan.clients_tls = Some((anywhere, pair.clone()));
        plan.clients.max_connections = 2;
    });
    let herd = herd.launch_all();
    let mut plain = herd.client("Riley");
    assert_eq!(plain.ask("one"), "? one");
    let mut secure = client(&herd, &pki);
    assert_eq!(ask(&mut secure, "two"), "? two\n");
    let mut third = herd.client("Riley");
    assert_eq!(third.rest_until_cut(), b"");
    let mut fourth = client(&herd, &pki);
    let _ = fourth.get_mut().write_all(b"four\n");
    let mut rest = Vec::new();
    let _ = fourth.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    drop(secure);
    eventually("a new connection is accepted again", || {
        let mut again = client(&herd, &pki);
        again.get_mut().write_all(b"five\n").ok()?;
        let mut answer = String::new();
        again.read_line(&mut answer).ok()?;
        (answer == "? five\n").then_some(())
    });
}

#[test]
fn networks_and_connections_per_address_apply_before_tls_and_to_both_ports() {
    let pki = Arc::new(Pki::new());
    let pair = pki.issue("clients", &server("Riley", "test"), days(-1, 30));
    let herd = Herd::new(ALONE).adjust(move |plan| {
        let anywhere = Address::parse("127.0.0.1:0").unwrap();
        plan.clients_tls = Some((anywhere, pair.clone()));
        plan.clients.networks.deny = vec![Network::parse("127.0.0.2").unwrap()];
        plan.clients.connections_per_address = Some(2);
    });
    let herd = herd.launch_all();
    let (secure, plain) = (
        herd.clients_tls_address("Riley"),
        herd.clients_address("Riley"),
    );
    let mut denied = Client::connect_from("127.0.0.2", secure);
    assert_eq!(denied.rest_until_cut(), b"");
    let counts = herd.counters("Riley");
    assert_eq!(counts.client_connections_rejected.network.get(), 1);

    let mut served = client(&herd, &pki);
    assert_eq!(ask(&mut served, "one"), "? one\n");
    let silent = Client::connect(secure);
    let mut third = Client::connect(secure);
    assert_eq!(third.rest_until_cut(), b"");
    assert_eq!(Client::connect(plain).rest_until_cut(), b"");
    assert_eq!(counts.client_connections_rejected.per_address.get(), 2);
    let mut other = Client::connect_from("127.0.0.3", plain);
    assert_eq!(other.ask("two"), "? two");
    // The server did not wait for a handshake of the closed connections.
    let rejected = |kind| counts.client_connections_rejected.tls.of(kind).get();
    assert_eq!(HandshakeErrorKind::ALL.map(rejected), [0; 6]);

    drop(silent);
    eventually("a new connection is accepted again", || {
        let mut again = Client::connect(plain);
        again.try_send("x\n").ok()?;
        (again.try_line().ok()? == b"? x\n").then_some(())
    });
    assert_eq!(ask(&mut served, "three"), "? three\n");
}

#[test]
fn the_header_of_a_proxy_comes_before_tls() {
    let pki = Arc::new(Pki::new());
    let pair = pki.issue("clients", &server("Riley", "test"), days(-1, 30));
    let herd = Herd::new(ALONE).adjust(move |plan| {
        let anywhere = Address::parse("127.0.0.1:0").unwrap();
        plan.clients_tls = Some((anywhere, pair.clone()));
        plan.clients.proxies = vec![Network::parse("127.0.0.1").unwrap()];
        plan.clients.networks.deny = vec![Network::parse("192.0.2.2").unwrap()];
    });
    let herd = herd.launch_all();
    let proxied = |client: &str| {
        let mut stream = TcpStream::connect(herd.clients_tls_address("Riley")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "PROXY TCP4 {client} 192.0.2.200 1 2\r\n").unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let config = Arc::new(client_config(&pki.path("ca.pem"), None));
        let tls = ClientConnection::new(config, name).unwrap();
        BufReader::new(StreamOwned::new(tls, stream))
    };
    assert_eq!(ask(&mut proxied("192.0.2.1"), "one"), "? one\n");
    let mut denied = proxied("192.0.2.2");
    assert!(denied.read_line(&mut String::new()).is_err());
    let rejected = herd.rejected_clients("Riley");
    assert_eq!(
        (rejected.network.get(), rejected.proxy_header.get()),
        (1, 0)
    );
    // TLS in place of the header.
    let config = client_config(&pki.path("ca.pem"), None);
    let mut direct = connect(herd.clients_tls_address("Riley"), config, "127.0.0.1");
    assert!(direct.read_line(&mut String::new()).is_err());
    assert_eq!(rejected.proxy_header.get(), 1);
}

#[test]
fn commands_per_second_applies_with_tls() {
    let pki = Arc::new(Pki::new());
    let pair = pki.issue("clients", &server("Riley", "test"), days(-1, 30));
    let herd = Herd::new(ALONE).adjust(move |plan| {
        let anywhere = Address::parse("127.0.0.1:0").unwrap();
        plan.clients_tls = Some((anywhere, pair.clone()));
        plan.clients.commands_per_second = Some(50);
    });
    let herd = herd.launch_all();
    let mut secure = client(&herd, &pki);
    let start = Instant::now();
    let lines: String = (0..100).map(|n| format!("{n}\n")).collect();
    secure.get_mut().write_all(lines.as_bytes()).unwrap();
    for n in 0..100 {
        let mut answer = String::new();
        secure.read_line(&mut answer).unwrap();
        assert_eq!(answer, format!("? {n}\n"));
    }
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_client_connects_beside_slow_handshakes_and_plaintext() {
    let pki = Arc::new(Pki::new());
    let mut herd = riley(&pki);
    let log = ServerLog::launch(&mut herd, "Riley");
    let address = herd.clients_tls_address("Riley");
    rlimit::increase_nofile_limit(4096).unwrap();
    let held: Vec<TcpStream> = (0..300)
        .map(|i| {
            let mut stream = TcpStream::connect(address).unwrap();
            let opening: &[u8] = if i % 2 == 0 { &[0x16, 3] } else { &[] };
            stream.write_all(opening).unwrap();
            stream
        })
        .collect();
    assert_eq!(ask(&mut client(&herd, &pki), "hello"), "? hello\n");
    let mut plain = Client::connect(address);
    plain.send("IAMAT kiwi +1+1 1\n");
    assert!(!plain.rest_until_cut().contains(&b'?'));
    log.await_line(&["INFO", "to the client port: it speaks plaintext"], || {});
    drop(held);
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_disconnected() {
    let pki = Arc::new(Pki::new());
    let pair = pki.issue("clients", &server("Riley", "test"), days(-1, 30));
    let herd = Herd::new(ALONE).adjust(move |plan| {
        let anywhere = Address::parse("127.0.0.1:0").unwrap();
        plan.clients_tls = Some((anywhere, pair.clone()));
        plan.clients.idle = Duration::from_millis(200);
    });
    let herd = herd.launch_all();
    let mut slow = Client::connect(herd.clients_tls_address("Riley"));
    slow.send([0x16]);
    assert_eq!(slow.rest_until_cut(), b"");
}

#[test]
fn a_draining_server_sends_close_notify_to_clients_with_tls() {
    let pki = Arc::new(Pki::new());
    let mut herd = riley(&pki).launch_all();
    let mut secure = client(&herd, &pki);
    assert_eq!(ask(&mut secure, "one"), "? one\n");
    herd.drain("Riley");
    let mut rest = String::new();
    secure.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "close_notify ends the stream without an error");
}

#[test]
fn openssl_s_client_works_as_a_client() {
    let pki = Arc::new(Pki::new());
    let herd = riley(&pki).launch_all();
    let connect = herd.clients_tls_address("Riley").to_string();
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-quiet", "-no_ign_eof", "-verify_return_error"])
        .args([
            "-verify_hostname",
            "riley.test.proxyherd",
            "-connect",
            &connect,
        ])
        .arg("-CAfile")
        .arg(pki.path("ca.pem"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut openssl) = command.spawn() else {
        eprintln!("skipped: there is no openssl");
        return;
    };
    let mut stdin = openssl.stdin.take().unwrap();
    let mut stdout = BufReader::new(openssl.stdout.take().unwrap());
    stdin.write_all(b"hello from openssl\n").unwrap();
    let mut answer = String::new();
    stdout.read_line(&mut answer).unwrap();
    drop(stdin);
    let ended = openssl.wait_with_output().unwrap();
    assert_eq!(answer, "? hello from openssl\n", "{ended:?}");
}

#[test]
fn a_client_that_is_cut_receives_close_notify_and_one_that_sends_none_is_not_called_broken() {
    let pki = Arc::new(Pki::new());
    let pair = pki.issue("clients", &server("Riley", "test"), days(-1, 30));
    let mut herd = Herd::new(ALONE).adjust(move |plan| {
        let anywhere = Address::parse("127.0.0.1:0").unwrap();
        plan.clients_tls = Some((anywhere, pair.clone()));
        plan.clients.idle = Duration::from_millis(500);
    });
    let log = ServerLog::launch(&mut herd, "Riley");
    let mut idle = client(&herd, &pki);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("close_notify");
    assert_eq!(rest, b"");

    let mut rude = client(&herd, &pki);
    assert_eq!(ask(&mut rude, "one"), "? one\n");
    rude.get_mut().write_all(b"IAMAT cut +1+1 1").unwrap();
    rude.get_mut().sock.shutdown(Shutdown::Write).unwrap();
    log.await_line(
        &[
            "INFO",
            "disconnected: it closed the connection without close_notify of TLS",
        ],
        || {},
    );
    let mut asks = client(&herd, &pki);
    assert_eq!(ask(&mut asks, "WHATSAT cut 0 0"), "? WHATSAT cut 0 0\n");
}
