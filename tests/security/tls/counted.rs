//! Counters of rejected connections by reason, on both ports with TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use proxyherd::model::address::Address;
use proxyherd::proto::operator_client::OperatorClient;
use proxyherd::proto::{GetStatusRequest, GetStatusResponse, RejectedConnections};
use proxyherd::tls::Pair;

use super::herd;
use crate::common::{
    FakeSender, Herd, LIMIT, Pki, call_as, days, eventually, http_get, operator, server,
};

/// A server with TLS whose counters the test reads.
struct Counting {
    pki: Arc<Pki>,
    herd: Herd,
}

impl Counting {
    fn start() -> Self {
        let pki = Arc::new(Pki::new());
        let files = pki.clone();
        let herd = herd((&["Riley", "Jaquez"], &[("Riley", "Jaquez")]), &pki);
        let mut herd = herd.adjust(move |plan| {
            let anywhere = Address::parse("127.0.0.1:0").unwrap();
            plan.tls = Some(files.files(plan.name.as_str()));
            plan.clients_tls = Some((anywhere.clone(), files.pair("Riley")));
            plan.bind_web = Some(anywhere);
        });
        herd.launch("Riley");
        Self { pki, herd }
    }

    fn peers(&self) -> SocketAddr {
        self.herd.peers_address("Riley")
    }

    fn clients(&self) -> SocketAddr {
        self.herd.clients_tls_address("Riley")
    }

    fn status(&self) -> GetStatusResponse {
        let alice = self
            .pki
            .issue("alice", &operator("alice", "test"), days(-1, 30));
        let ca = self.pki.path("ca.pem");
        let caller = call_as(self.peers(), &ca, Some(&alice), "riley.test.proxyherd").unwrap();
        let mut client = OperatorClient::new(caller.channel.clone());
        let answer = caller.run(client.get_status(GetStatusRequest {}));
        answer.unwrap().into_inner()
    }

    fn metrics(&self) -> String {
        http_get(self.herd.web_address("Riley"), "/metrics").body
    }

    /// Waits until GetStatus and /metrics have exactly these counts for a port: `peers` or
    /// `clients_tls`.
    #[track_caller]
    fn await_counts(&self, port: &str, expected: RejectedConnections) {
        eventually(&format!("{port} has {expected:?}"), || {
            let status = self.status();
            let counts = match port {
                "peers" => status.peer_connections_rejected,
                _ => status.client_connections_rejected,
            };
            (counts == Some(expected)).then_some(())
        });
        let page = self.metrics();
        for (reason, count) in [
            ("no_certificate", expected.no_certificate),
            ("untrusted_ca", expected.untrusted_ca),
            ("expired", expected.expired),
            ("plaintext", expected.plaintext),
            ("own_certificate", expected.own_certificate),
            ("other", expected.other),
        ] {
            let series = format!(
                "proxyherd_connections_rejected_total{{port=\"{port}\",reason=\"{reason}\"}} {count}\n"
            );
            assert!(page.contains(&series), "{series}{page}");
        }
    }
}

/// Sends bytes to a port and waits until the connection is closed.
fn say(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

/// A record of the handshake type without a handshake.
const NO_HANDSHAKE: &[u8] = b"\x16\x03\x01\0\x05hello";

#[test]
fn rejected_connections_at_the_peer_port_are_counted_by_reason() {
    let counting = Counting::start();
    let (pki, foreign) = (&counting.pki, Pki::new());
    let (ca, riley) = (pki.path("ca.pem"), "riley.test.proxyherd");
    let call = |ca: &Path, own: Option<&Pair>| call_as(counting.peers(), ca, own, riley);
    counting.await_counts("peers", RejectedConnections::default());

    call(&ca, None).err().unwrap();
    for _ in 0..2 {
        let own = foreign.issue("x", &server("Jaquez", "test"), days(-1, 30));
        call(&ca, Some(&own)).err().unwrap();
    }
    for validity in [days(-30, -1), days(-30, -2), days(1, 30)] {
        let own = pki.issue("dated", &server("Jaquez", "test"), validity);
        call(&ca, Some(&own)).err().unwrap();
    }
    for _ in 0..4 {
        say(counting.peers(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    }
    for _ in 0..5 {
        call(&foreign.path("ca.pem"), None).err().unwrap();
    }
    for _ in 0..6 {
        say(counting.peers(), NO_HANDSHAKE);
    }
    // A connection that sends nothing is not counted.
    drop(TcpStream::connect(counting.peers()).unwrap());
    counting.await_counts(
        "peers",
        RejectedConnections {
            no_certificate: 1,
            untrusted_ca: 2,
            expired: 3,
            plaintext: 4,
            own_certificate: 5,
            other: 6,
            ..RejectedConnections::default()
        },
    );
    counting.await_counts("clients", RejectedConnections::default());
}

#[test]
fn rejected_connections_at_the_port_for_clients_are_counted_by_reason() {
    let counting = Counting::start();
    let foreign = Pki::new();
    say(counting.clients(), b"IAMAT kiwi +1+1 1\n");
    for _ in 0..2 {
        let ca = foreign.path("ca.pem");
        let rejected = call_as(counting.clients(), &ca, None, "riley.test.proxyherd");
        rejected.err().unwrap();
    }
    for _ in 0..3 {
        say(counting.clients(), NO_HANDSHAKE);
    }
    counting.await_counts(
        "clients",
        RejectedConnections {
            plaintext: 1,
            own_certificate: 2,
            other: 3,
            ..RejectedConnections::default()
        },
    );
    counting.await_counts("peers", RejectedConnections::default());
}

#[test]
fn calls_with_a_certificate_for_another_name_are_counted_by_reason() {
    let counting = Counting::start();
    let call = |subject| {
        let own = counting.pki.issue("caller", &subject, days(-1, 30));
        let ca = counting.pki.path("ca.pem");
        call_as(counting.peers(), &ca, Some(&own), "riley.test.proxyherd").unwrap()
    };
    let jaquez = FakeSender::new("Jaquez", 7, "Riley");
    // Rejected because of the herd, and of the name, of the certificate.
    for subject in [server("Jaquez", "other"), server("Mallory", "test")] {
        call(subject).greet(&jaquez.greeting()).unwrap_err();
    }
    // Rejected because of its message, not of its certificate.
    let mut wrong = jaquez.greeting();
    wrong.receiver = "Campbell".to_owned();
    call(server("Jaquez", "test")).greet(&wrong).unwrap_err();
    let status = counting.status();
    let rejected = status.peer_calls_rejected.unwrap();
    assert_eq!((rejected.certificate, rejected.other), (2, 1));
    let page = counting.metrics();
    for series in ["{reason=\"certificate\"} 2\n", "{reason=\"other\"} 1\n"] {
        let series = format!("proxyherd_peer_calls_rejected_total{series}");
        assert!(page.contains(&series), "{page}");
    }
}
