//! Open connections end when their certificate expires or its CA is no longer trusted, and only
//! then.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proxyherd::proto::operator_client::OperatorClient;
use proxyherd::proto::{WatchRequest, WatchResponse};
use proxyherd::tls::issue::Validity;
use proxyherd::tls::{Files, Pair};
use tonic::Streaming;

use super::herd;
use super::logs::ServerLog;
use crate::common::{Herd, PeerClient, Pki, call_as, days, eventually, linked, operator, server};

/// The validity of a certificate that expires during a test. A busy machine needs less to link two
/// servers and to reload files.
const SHORT_VALIDITY: Duration = Duration::from_secs(15);

/// Returns a validity that ends after [`SHORT_VALIDITY`].
fn shortly() -> Validity {
    let until = SystemTime::now() + SHORT_VALIDITY;
    Validity {
        until,
        ..days(-1, 30)
    }
}

/// Two servers with a link. Each has its own CA, and its own file of trusted CAs, which names
/// both.
struct Two {
    names: [&'static str; 2],
    first: Pki,
    second: Arc<Pki>,
    herd: Herd,
    log: ServerLog,
}

impl Two {
    fn start(names: [&'static str; 2], validity: Validity) -> Self {
        let (first, second) = (Pki::new(), Arc::new(Pki::new()));
        first.replace("both.pem", &(first.ca.clone() + &second.ca));
        second.replace("both.pem", &(first.ca.clone() + &second.ca));
        let own = |pki: &Pki, name, validity| Files {
            own: pki.issue(name, &server(name, "test"), validity),
            ca: pki.path("both.pem"),
        };
        let files = [
            own(&first, names[0], days(-1, 30)),
            own(&second, names[1], validity),
        ];
        let link = [(names[0], names[1])];
        let mut herd = Herd::new(linked(&names, &link)).adjust(move |plan| {
            let at = names.iter().position(|&name| name == plan.name.as_str());
            plan.tls = at.map(|at| files[at].clone());
        });
        let log = ServerLog::launch(&mut herd, names[0]);
        herd.launch(names[1]);
        herd.await_links();
        Self {
            names,
            first,
            second,
            herd,
            log,
        }
    }

    /// Waits until the link is down for the reason `local` at the first server and `remote` at the
    /// second.
    #[track_caller]
    fn await_down(&self, [local, remote]: [&str; 2]) {
        let [a, b] = self.names;
        for (from, to, reason) in [(a, b, local), (b, a, remote)] {
            eventually(&format!("{from} reports: {reason}"), || {
                let link = self.herd.link(from, to);
                (!link.is_up && link.reason.contains(reason)).then_some(())
            });
        }
        self.log
            .await_line(&["closed the connection from 127.0.0.1", local], || {});
        self.log.await_line(&["link to", "is down", local], || {});
    }
}

#[test]
fn a_link_ends_when_the_neighbours_certificate_expires_and_returns_after_renewal() {
    let two = Two::start(["Lasting-1", "Lasting-2"], shortly());
    two.await_down([
        "its certificate expired at 20",
        "it rejected our certificate: expired, or not valid yet",
    ]);
    let rejected = two
        .herd
        .counters("Lasting-1")
        .peer_connections_rejected
        .tls
        .clone();
    assert!(
        rejected
            .of(proxyherd::tls::HandshakeErrorKind::Expired)
            .get()
            > 0
    );
    let own = two.second.pair("Lasting-2");
    two.second.renew(&own, &server("Lasting-2", "test"));
    two.herd.await_links();
}

#[test]
fn a_link_ends_when_the_neighbours_ca_is_removed() {
    let two = Two::start(["Trusting-1", "Trusting-2"], days(-1, 30));
    two.first.replace("both.pem", &two.first.ca);
    two.await_down([
        "its certificate is from a CA that the config does not name",
        "it rejected our certificate: it does not trust the CA",
    ]);
    two.first
        .replace("both.pem", &(two.first.ca.clone() + &two.second.ca));
    two.herd.await_links();
}

#[test]
fn a_link_stays_when_its_certificate_is_renewed_in_time() {
    let two = Two::start(["Timely-1", "Timely-2"], shortly());
    let start = Instant::now();
    let [a, b] = two.names;
    let since = || [two.herd.link(a, b), two.herd.link(b, a)].map(|link| (link.is_up, link.since));
    let before = since();
    let own = two.second.pair("Timely-2");
    two.second.renew(&own, &server("Timely-2", "test"));
    // The old certificate expires within that time.
    std::thread::sleep((SHORT_VALIDITY + Duration::from_secs(2)).saturating_sub(start.elapsed()));
    assert_eq!(since(), before);
    two.herd.client(a).ask("IAMAT kiwi +1+1 1");
    two.herd.await_everywhere("kiwi", "+1+1");
    let text = two.log.text();
    assert!(!text.contains("closed the connection from"), "{text}");
}

/// An operator with a Watch stream.
struct Watching {
    caller: PeerClient,
    responses: Streaming<WatchResponse>,
}

impl Watching {
    fn start(herd: &Herd, name: &str, pki: &Pki, own: &Pair) -> Self {
        let dns_name = format!("{name}.test.proxyherd");
        let address = herd.peers_address(name);
        let caller = call_as(address, &pki.path("ca.pem"), Some(own), &dns_name).unwrap();
        let mut client = OperatorClient::new(caller.channel.clone());
        let responses = caller.run(client.watch(WatchRequest::default()));
        let responses = responses.unwrap().into_inner();
        Self { caller, responses }
    }

    /// Asserts that the stream delivers a new report.
    #[track_caller]
    fn assert_delivers(&mut self, herd: &Herd, name: &str) {
        herd.client(name).ask("IAMAT kiwi +1+1 1");
        self.caller.run(self.responses.message()).unwrap().unwrap();
    }

    /// Waits until the stream ends.
    #[track_caller]
    fn await_end(self) {
        let Self {
            caller,
            mut responses,
        } = self;
        caller.run(async { while let Ok(Some(_)) = responses.message().await {} });
    }
}

#[test]
fn a_watch_ends_when_the_operators_certificate_expires() {
    let pki = Arc::new(Pki::new());
    let mut herd = herd((&["Watched"], &[]), &pki);
    let log = ServerLog::launch(&mut herd, "Watched");
    let alice = pki.issue("alice", &operator("alice", "test"), shortly());
    let bob = pki.issue("bob", &operator("bob", "test"), days(-1, 30));
    let mut short = Watching::start(&herd, "Watched", &pki, &alice);
    let mut long = Watching::start(&herd, "Watched", &pki, &bob);
    short.assert_delivers(&herd, "Watched");
    short.await_end();
    log.await_line(
        &["closed the connection", "its certificate expired at"],
        || {},
    );
    long.caller.run(long.responses.message()).unwrap().unwrap();
    herd.client("Watched").ask("IAMAT kiwi +2+1 2");
    long.caller.run(long.responses.message()).unwrap().unwrap();
}

#[test]
fn a_watch_ends_when_the_operators_ca_is_removed() {
    let pki = Arc::new(Pki::new());
    let other = Pki::new();
    let own_ca = pki.ca.clone();
    let mut herd = herd((&["Guarded"], &[]), &pki);
    let log = ServerLog::launch(&mut herd, "Guarded");
    pki.replace("ca.pem", &(own_ca.clone() + &other.ca));
    let alice = other.issue("alice", &operator("alice", "test"), days(-1, 30));
    eventually("the other CA is trusted", || {
        let address = herd.peers_address("Guarded");
        let ca = pki.path("ca.pem");
        call_as(address, &ca, Some(&alice), "guarded.test.proxyherd").ok()
    });
    let mut watching = Watching::start(&herd, "Guarded", &pki, &alice);
    watching.assert_delivers(&herd, "Guarded");
    pki.replace("ca.pem", &own_ca);
    watching.await_end();
    let reason = "its certificate is from a CA that the config does not name (ca)";
    log.await_line(&["closed the connection", reason], || {});
}
