//! Every kind of invalid certificate is rejected with its own reason, for the caller and in the
//! log of the server.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use proxyherd::proto::operator_client::OperatorClient;
use proxyherd::proto::{ImportRequest, ImportResponse};
use proxyherd::tls::issue::Validity;
use proxyherd::tls::{Credentials, Files, Pair, Subject};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use super::herd;
use super::logs::ServerLog;
use crate::common::{
    FakeSender, Herd, LIMIT, PeerClient, Pki, call_as, days, eventually, linked, operator, report,
    server, server_config,
};

/// A server with a fake neighbour.
struct Alone {
    name: &'static str,
    neighbour: String,
    pki: Arc<Pki>,
    herd: Herd,
    log: ServerLog,
}

impl Alone {
    fn start(name: &'static str) -> Self {
        let pki = Arc::new(Pki::new());
        let neighbour = format!("{name}-2");
        let (names, links) = ([name, &*neighbour], [(name, &*neighbour)]);
        let mut herd = herd((&names, &links), &pki);
        let log = ServerLog::launch(&mut herd, name);
        Self {
            name,
            neighbour: neighbour.clone(),
            pki,
            herd,
            log,
        }
    }

    fn address(&self) -> SocketAddr {
        self.herd.peers_address(self.name)
    }

    fn call_as(&self, own: Option<&Pair>) -> Result<PeerClient, String> {
        let name = format!("{}.test.proxyherd", self.name);
        call_as(self.address(), &self.pki.path("ca.pem"), own, &name)
    }

    /// Issues a valid certificate.
    fn issue(&self, subject: &Subject) -> Pair {
        self.pki.issue("caller", subject, days(-1, 30))
    }

    fn neighbour(&self) -> FakeSender {
        FakeSender::new(&self.neighbour, 7, self.name)
    }

    /// Asserts that greeting and push of the neighbour are rejected on this connection.
    #[track_caller]
    fn assert_rejects_propagation(&self, caller: &PeerClient, message: &str) {
        let sender = self.neighbour();
        let statuses = [
            caller.greet(&sender.greeting()).unwrap_err(),
            caller
                .push(&sender.push(0, 1, vec![report("kiwi", "+1+1", "1")]))
                .unwrap_err(),
        ];
        for status in statuses {
            assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
            assert!(status.message().contains(message), "{status:?}");
        }
        self.log
            .await_line(&["WARN", "rejected", "PermissionDenied", message], || {
                let _ = caller.greet(&sender.greeting());
            });
        assert_eq!(self.herd.gateway(self.name).replica().store().last(), 0);
    }

    /// Imports a report of a client.
    fn import(&self, caller: &PeerClient) -> Result<ImportResponse, tonic::Status> {
        let push = self
            .neighbour()
            .push(0, 1, vec![report("kiwi", "+1+1", "1")]);
        let changes = prost::Message::encode_to_vec(&push);
        let mut client = OperatorClient::new(caller.channel.clone());
        let request = ImportRequest {
            changes,
            other_herd: false,
        };
        let imported = caller.run(client.import(request));
        imported.map(tonic::Response::into_inner)
    }

    fn health(&self, caller: &PeerClient) -> Result<(), tonic::Status> {
        use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
        let mut client = HealthClient::new(caller.channel.clone());
        let request = HealthCheckRequest::default();
        caller.run(client.check(request)).map(drop)
    }

    /// Waits until the link to the neighbour, at this address, is down for a reason that
    /// contains `reason`.
    #[track_caller]
    fn await_down(&self, address: SocketAddr, reason: &str) {
        self.herd.redirect(self.name, &self.neighbour, address);
        eventually(&format!("the link is down: {reason}"), || {
            let link = self.herd.link(self.name, &self.neighbour);
            link.reason.contains(reason).then_some(())
        });
        self.log.await_line(&["link to", "is down", reason], || {});
    }
}

#[test]
fn a_neighbour_with_its_certificate_is_accepted() {
    let riley = Alone::start("Welcoming");
    let jaquez = riley.issue(&server(&riley.neighbour, "TEST"));
    let caller = riley.call_as(Some(&jaquez)).unwrap();
    let mut sender = riley.neighbour();
    sender.greet(&caller);
    let push = sender.push(0, 1, vec![report("kiwi", "+1+1", "1")]);
    assert_eq!(caller.push(&push).unwrap(), 1);
    riley.health(&caller).unwrap();
}

#[test]
fn a_caller_without_a_certificate_is_rejected() {
    let riley = Alone::start("Certain");
    let message = riley.call_as(None).err().unwrap();
    assert_eq!(message, "it requires a certificate, and none was presented");
    let logged = [
        "WARN",
        "rejected a connection",
        "it presented no certificate",
    ];
    riley.log.await_line(&logged, || drop(riley.call_as(None)));
}

#[test]
fn a_server_may_greet_only_by_the_name_of_its_certificate() {
    let riley = Alone::start("Judging");
    let other = riley.issue(&server("Mallory", "test"));
    let caller = riley.call_as(Some(&other)).unwrap();
    let message = format!(
        "your certificate is for Mallory.test.proxyherd, and you call yourself {:?}",
        riley.neighbour
    );
    riley.assert_rejects_propagation(&caller, &message);
    // The name is repeated only if it is valid.
    let mut odd = riley.neighbour();
    odd.name = "\u{1b}[2J".to_owned();
    let status = caller.greet(&odd.greeting()).unwrap_err();
    assert!(!status.message().contains('\u{1b}'), "{status:?}");
}

#[test]
fn a_server_of_another_herd_with_the_same_ca_may_call_nothing() {
    let riley = Alone::start("Homely");
    let other = riley.issue(&server(&riley.neighbour, "other"));
    let caller = riley.call_as(Some(&other)).unwrap();
    let message = "Homely-2.other.proxyherd, this server is of another herd";
    riley.assert_rejects_propagation(&caller, message);
    let status = riley.health(&caller).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[test]
fn an_operator_may_query_and_not_push() {
    let riley = Alone::start("Operated");
    // Not even with the name of the neighbour.
    let operator = riley.issue(&operator(&riley.neighbour, "test"));
    let caller = riley.call_as(Some(&operator)).unwrap();
    riley.health(&caller).unwrap();
    let message = "operators may not push or import, servers only";
    riley.assert_rejects_propagation(&caller, message);
    let status = riley.import(&caller).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains(message), "{status:?}");
    assert_eq!(riley.herd.position("Operated", "kiwi"), None);
    // A server of the herd may.
    let server = riley.issue(&server(&riley.neighbour, "test"));
    let caller = riley.call_as(Some(&server)).unwrap();
    assert_eq!(riley.import(&caller).unwrap().newer, 1);
    assert!(riley.herd.position("Operated", "kiwi").is_some());
}

#[test]
fn an_operator_of_another_herd_may_not_query() {
    let riley = Alone::start("Private");
    let caller = riley.issue(&operator("alice", "other"));
    let caller = riley.call_as(Some(&caller)).unwrap();
    let status = riley.health(&caller).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().contains("alice.operator.other.proxyherd"),
        "{status:?}"
    );
}

/// Starts two servers, the second with a certificate that the first rejects, and asserts the
/// reasons in the links and logs of both: `local` at the first, `remote` at the second.
#[track_caller]
fn assert_rejected_both_ways(
    names: [&str; 2],
    wrong: impl Fn(&Pki) -> Files + Send + 'static,
    [local, remote]: [&str; 2],
) {
    let pki = Arc::new(Pki::new());
    let [riley, jaquez] = names;
    let (topology, second) = ([(riley, jaquez)], jaquez.to_owned());
    let files = pki.clone();
    let mut herd = Herd::new(linked(&names, &topology)).adjust(move |plan| {
        plan.tls = Some(if plan.name.as_str() == second {
            wrong(&files)
        } else {
            files.files(plan.name.as_str())
        });
    });
    let logs = names.map(|name| ServerLog::launch(&mut herd, name));
    for (from, to, reason) in [(riley, jaquez, local), (jaquez, riley, remote)] {
        eventually(&format!("{from} reports: {reason}"), || {
            let link = herd.link(from, to);
            link.reason.contains(reason).then_some(())
        });
    }
    logs[0].await_line(&["rejected a connection from 127.0.0.1", local], || {});
    logs[0].await_line(&["link to", "is down", local], || {});
    logs[1].await_line(&["link to", "is down", remote], || {});
    assert!(!herd.is_up(riley, jaquez) && !herd.is_up(jaquez, riley));
}

fn with_validity(validity: Validity) -> impl Fn(&Pki) -> Files {
    move |pki| Files {
        own: pki.issue("second", &server("Dated-2", "test"), validity),
        ca: pki.path("ca.pem"),
    }
}

#[test]
fn an_expired_certificate_is_rejected() {
    assert_rejected_both_ways(
        ["Dated-1", "Dated-2"],
        with_validity(days(-30, -1)),
        [
            "its certificate expired at 20",
            "it rejected our certificate: expired, or not valid yet",
        ],
    );
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_rejected() {
    assert_rejected_both_ways(
        ["Early-1", "Early-2"],
        |pki| Files {
            own: pki.issue("second", &server("Early-2", "test"), days(1, 30)),
            ca: pki.path("ca.pem"),
        },
        [
            "its certificate is not valid before 20",
            "it rejected our certificate: expired, or not valid yet",
        ],
    );
}

#[test]
fn a_certificate_of_a_foreign_ca_is_rejected() {
    assert_rejected_both_ways(
        ["Native-1", "Native-2"],
        |pki| {
            let foreign = Pki::new();
            let both = pki.ca.clone() + &foreign.ca;
            pki.replace("both.pem", &both);
            let own = foreign.issue("second", &server("Native-2", "test"), days(-1, 30));
            for (from, to) in [(own.certificate, "second.pem"), (own.key, "second.key")] {
                fs::copy(from, pki.path(to)).unwrap();
            }
            Files {
                own: pki.pair("second"),
                ca: pki.path("both.pem"),
            }
        },
        [
            "its certificate is from a CA that the config does not name",
            "it rejected our certificate: it does not trust the CA",
        ],
    );
}

/// A TLS server at the address of a neighbour.
pub(super) struct Impostor {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Impostor {
    fn start(own: &Pair) -> Self {
        Self::serve(TcpListener::bind(("127.0.0.1", 0)).unwrap(), own)
    }

    pub(super) fn serve(listener: TcpListener, own: &Pair) -> Self {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(own)));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // No client should send anything to it.
                drop(acceptor.accept(stream).await);
            }
        });
        Self {
            address,
            _runtime: runtime,
        }
    }
}

#[test]
fn a_server_at_the_address_of_a_neighbour_must_have_its_name() {
    let riley = Alone::start("Careful");
    for (subject, reason) in [
        (
            server("Mallory", "test"),
            "its certificate is for Mallory.test.proxyherd",
        ),
        (
            server(&riley.neighbour, "other"),
            "its certificate is for Careful-2.other.proxyherd",
        ),
        (
            operator(&riley.neighbour, "test"),
            "its certificate may not be used for this (extended key usage)",
        ),
    ] {
        let impostor = Impostor::start(&riley.issue(&subject));
        riley.await_down(impostor.address, reason);
    }
}

#[test]
fn plaintext_at_a_port_with_tls_is_reported_by_both_sides() {
    let riley = Alone::start("Sealed");
    let logged = [
        "rejected a connection",
        "it speaks plaintext, and this port is for TLS",
    ];
    let caller = PeerClient::dial(riley.address());
    let status = caller.greet(&riley.neighbour().greeting()).unwrap_err();
    assert!(
        format!("{status:?}").contains("this port is for TLS"),
        "{status:?}"
    );
    riley.log.await_line(&logged, || {
        let _ = caller.greet(&riley.neighbour().greeting());
    });
}

#[test]
fn a_link_by_tls_to_a_port_without_tls_is_reported_by_both_sides() {
    let pki = Arc::new(Pki::new());
    let (names, links) = (["Secret", "Open"], [("Secret", "Open")]);
    let files = pki.clone();
    let mut herd = Herd::new(linked(&names, &links)).adjust(move |plan| {
        let is_secret = plan.name.as_str() == "Secret";
        plan.tls = is_secret.then(|| files.files("Secret"));
    });
    let logs = names.map(|name| ServerLog::launch(&mut herd, name));
    logs[1].await_line(
        &[
            "rejected a connection",
            "it speaks TLS, which this port does not use",
        ],
        || {},
    );
    logs[0].await_line(&["link to Open is down", "does it speak TLS?"], || {});
    logs[0].await_line(&["rejected a connection", "it speaks plaintext"], || {});
    logs[1].await_line(
        &["link to Secret is down", "it requires TLS, which this side"],
        || {},
    );
}

#[test]
fn an_unfinished_handshake_is_ended_and_logged() {
    let pki = Arc::new(Pki::new());
    let files = pki.clone();
    let mut herd = Herd::new(linked(&["Slow"], &[])).adjust(move |plan| {
        plan.tls = Some(files.files("Slow"));
        plan.peers.attempt = Duration::from_millis(200);
    });
    let log = ServerLog::launch(&mut herd, "Slow");
    let mut stream = TcpStream::connect(herd.peers_address("Slow")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(&[0x16, 3, 1]).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    log.await_line(&["it did not finish the TLS handshake in time"], || {});
}

#[test]
fn a_neighbour_connects_beside_unfinished_handshakes() {
    let pki = Arc::new(Pki::new());
    let (names, links) = (["Busy", "Friend"], [("Busy", "Friend")]);
    let files = pki.clone();
    let mut herd = Herd::new(linked(&names, &links)).adjust(move |plan| {
        plan.tls = Some(files.files(plan.name.as_str()));
        plan.peers.attempt = Duration::from_secs(60);
        plan.peers.backoff_cap = Duration::from_millis(100);
    });
    herd.launch("Busy");
    let address = herd.peers_address("Busy");
    rlimit::increase_nofile_limit(4096).unwrap();
    let held: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[0x16]).unwrap();
            stream
        })
        .collect();
    herd.launch("Friend");
    herd.await_links();
    drop(held);
}

#[test]
fn invalid_files_are_reported_before_the_server_starts() {
    let pki = Pki::new();
    let riley = server("Riley", "test");
    let right = pki.files("Riley");
    let error_of = |files: Files| {
        let opened = Credentials::of_server(files, riley.clone());
        opened.map(drop).unwrap_err().to_string()
    };
    let with_own = |own: Pair| Files {
        own,
        ..right.clone()
    };

    let other = pki.issue("other", &server("Jaquez", "test"), days(-1, 30));
    let message = error_of(with_own(other.clone()));
    assert!(
        message.ends_with(
            "other.pem: it is for Jaquez.test.proxyherd; this server needs one with the DNS \
             name Riley.test.proxyherd (subject alternative name)"
        ),
        "{message}"
    );
    let message = error_of(with_own(Pair {
        key: other.key.clone(),
        ..right.own.clone()
    }));
    assert!(
        message.contains("other.key: it is not the key of"),
        "{message}"
    );

    let foreign = Pki::new().issue("x", &riley, days(-1, 30));
    let keep = fs::read(&foreign.certificate);
    assert!(keep.is_err(), "its directory is gone");
    let message = error_of(with_own(foreign));
    assert!(message.contains("there is no such file"), "{message}");

    let foreign = Pki::new();
    let message = error_of(with_own(foreign.issue("x", &riley, days(-1, 30))));
    assert!(
        message.contains("it is from a CA that the config does not name"),
        "{message}"
    );

    let whole = fs::read_to_string(&right.own.certificate).unwrap();
    pki.replace("half.pem", &whole[..whole.len() / 2]);
    let message = error_of(with_own(Pair {
        certificate: pki.path("half.pem"),
        ..right.own.clone()
    }));
    assert!(
        message.contains("ends in the middle of a PEM section"),
        "{message}"
    );

    let secret = fs::read_to_string(&right.own.key).unwrap();
    let broken = secret.replace("\nM", "\n!M");
    assert_ne!(broken, secret);
    pki.replace("broken.key", &broken);
    let message = error_of(with_own(Pair {
        key: pki.path("broken.key"),
        ..right.own.clone()
    }));
    let body = secret.lines().nth(1).unwrap();
    assert!(
        message.contains("broken.key, line 2: ") && !message.contains(&body[1..20]),
        "{message}"
    );
    let credentials = Credentials::of_server(right, riley).unwrap();
    assert!(!format!("{credentials:?}").contains(&body[1..20]));
}

#[test]
fn a_closed_port_is_reported() {
    let riley = Alone::start("Calling");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    riley.await_down(address, "the connection broke in the TLS handshake");
}
