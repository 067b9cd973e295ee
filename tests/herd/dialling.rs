//! Dials of names with several addresses, some of which do not work, and of names that are not
//! resolved.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use proxyherd::model::address::Address;
use proxyherd::net::{Dialer, Resolver, TcpDialer};
use proxyherd::peers::{self, CallError, Caller, PeerRequest, PeerResponse, PeerSettings};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tower::{Service, ServiceExt};

use crate::common::{BlackHole, FakeSender, Herd, LIMIT, PAIR, Random, eventually};

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Returns the address of the name that the resolvers of these tests know.
fn named(port: u16) -> Address {
    Address::parse(&format!("edge.example:{port}")).unwrap()
}

/// Returns a resolver by which each name has these addresses.
fn resolving_to(ips: Vec<IpAddr>) -> Resolver {
    Resolver::new(move |_| Ok(ips.iter().map(|ip| SocketAddr::new(*ip, 0)).collect()))
}

/// Starts Riley of a pair, with a neighbour that is not started.
fn riley() -> Herd {
    let mut herd = Herd::new(PAIR);
    herd.launch("Riley");
    herd
}

/// Greets Riley as its neighbour.
async fn greet(caller: &mut Caller) -> Result<(), CallError> {
    let greeting = FakeSender::new("Jaquez", 7, "Riley").greeting();
    let request = PeerRequest::Greet(Arc::new(greeting));
    match caller.ready().await?.call(request).await? {
        PeerResponse::Greet(response) => assert_eq!(response.receiver, "Riley"),
        PeerResponse::Push(_) | PeerResponse::Digest(_) => panic!("an answer to another call"),
    }
    Ok(())
}

#[test]
fn a_name_is_reached_at_the_one_address_that_works() {
    let herd = riley();
    let right = herd.peers_address("Riley");
    let runtime = runtime();
    let _guard = runtime.enter();
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let mut ips = vec![right.ip()];
        let mut holes = Vec::new();
        for last in 2..2 + u8::try_from(random.between(1, 5)).unwrap() {
            let ip = loopback(last);
            // The others refuse connections.
            if random.chance(600) {
                holes.push(BlackHole::open(SocketAddr::new(ip, right.port())));
            }
            ips.insert(random.below(ips.len() + 1), ip);
        }
        let dialer = TcpDialer::new(&named(right.port()), &resolving_to(ips.clone()));
        let connected = runtime.block_on(dialer.connect(LIMIT));
        let (_, trial) = connected.unwrap_or_else(|error| panic!("seed {seed}, {ips:?}: {error}"));
        assert_eq!(trial.address(), right, "seed {seed}, {ips:?}");

        let mut caller = peers::dial(Dialer::tcp(dialer), &PeerSettings::default()).unwrap();
        let greeted = runtime.block_on(async { timeout(LIMIT, greet(&mut caller)).await });
        greeted
            .unwrap()
            .unwrap_or_else(|error| panic!("seed {seed}, {ips:?}: {error}"));
    }
}

#[test]
fn a_link_leaves_an_address_that_accepts_connections_and_never_answers() {
    let herd = riley();
    let right = herd.peers_address("Riley");
    let runtime = runtime();
    let _guard = runtime.enter();
    let silent: Vec<_> = (2..5)
        .map(|last| std::net::TcpListener::bind((loopback(last), right.port())).unwrap())
        .collect();
    let mut ips: Vec<_> = silent
        .iter()
        .map(|one| one.local_addr().unwrap().ip())
        .collect();
    ips.push(right.ip());
    let dialer = TcpDialer::new(&named(right.port()), &resolving_to(ips));
    let settings = PeerSettings {
        attempt: Duration::from_millis(200),
        keep_alive: Duration::from_millis(100),
        keep_alive_timeout: Duration::from_millis(100),
        ..PeerSettings::default()
    };
    let mut caller = peers::dial(Dialer::tcp(dialer.clone()), &settings).unwrap();
    eventually("Riley answers", || {
        runtime.block_on(greet(&mut caller)).ok()
    });
    // The address that answered is the first one from now on.
    let (_, trial) = runtime.block_on(dialer.connect(LIMIT)).unwrap();
    assert_eq!(trial.address(), right);
}

#[test]
fn an_error_names_every_address_with_its_cause() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let _hole = BlackHole::open(SocketAddr::new(loopback(3), port));
    let limit = Duration::from_millis(300);
    let resolver = resolving_to(vec![loopback(3), loopback(2)]);
    let dialer = TcpDialer::new(&named(port), &resolver);
    // The text is the same when the order of the attempts is another.
    for _ in 0..3 {
        let error = runtime.block_on(dialer.connect(limit)).unwrap_err();
        let expected = format!(
            "no connection within 300ms: 127.0.0.2:{port}: Connection refused (os error 111); \
             127.0.0.3:{port}: no answer"
        );
        assert_eq!(error.to_string(), expected);
    }
    let refused = TcpDialer::new(
        &Address::from(SocketAddr::new(loopback(2), port)),
        &resolver,
    );
    let error = runtime.block_on(refused.connect(limit)).unwrap_err();
    assert_eq!(error.to_string(), "Connection refused (os error 111)");
    let silent = TcpDialer::new(
        &Address::from(SocketAddr::new(loopback(3), port)),
        &resolver,
    );
    let error = runtime.block_on(silent.connect(limit)).unwrap_err();
    assert_eq!(error.to_string(), "no connection within 300ms: no answer");
}

/// A name service that a test lets answer, fail or hang.
#[derive(Clone, Default)]
struct NameService(Arc<NameServiceShared>);

#[derive(Default)]
struct NameServiceShared {
    /// `None` while it hangs.
    answer: Mutex<Option<Result<IpAddr, &'static str>>>,
    changed: Condvar,
    lookups: AtomicUsize,
    ended: AtomicUsize,
}

impl NameService {
    fn set(&self, answer: Option<Result<IpAddr, &'static str>>) {
        *self.0.answer.lock().unwrap() = answer;
        self.0.changed.notify_all();
    }

    fn lookups(&self) -> usize {
        self.0.lookups.load(Ordering::SeqCst)
    }

    fn resolver(&self) -> Resolver {
        let shared = self.0.clone();
        Resolver::new(move |_| {
            shared.lookups.fetch_add(1, Ordering::SeqCst);
            let answer = shared.answer.lock().unwrap();
            let answer = shared.changed.wait_while(answer, |answer| answer.is_none());
            let ip = answer.unwrap().expect("it hangs no more");
            shared.ended.fetch_add(1, Ordering::SeqCst);
            let ip = ip.map_err(|cause| io::Error::new(ErrorKind::NotFound, cause))?;
            Ok(vec![SocketAddr::new(ip, 0)])
        })
    }
}

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_lookup_that_hangs_is_not_started_again_and_ends_no_dial_late() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let names = NameService::default();
    let resolver = names.resolver();
    let dialers: Vec<_> = (0..20)
        .map(|_| TcpDialer::new(&named(address.port()), &resolver))
        .collect();
    for dialer in &dialers {
        let error = runtime.block_on(dialer.connect(SHORT)).unwrap_err();
        // On a busy machine the limit of the dial may end before that of the lookup is noticed.
        let expected = "edge.example: its name was not resolved within 25ms";
        assert!(error.to_string().ends_with(expected), "{error}");
    }
    // The thread of the lookup may start late on a busy machine.
    eventually("the lookup runs", || (names.lookups() > 0).then_some(()));
    assert_eq!(names.lookups(), 1);
    let waiting: Vec<_> = dialers
        .iter()
        .cloned()
        .map(|dialer| runtime.spawn(async move { dialer.connect(LIMIT).await.map(drop) }))
        .collect();
    names.set(Some(Ok(address.ip())));
    for dialled in waiting {
        runtime.block_on(dialled).unwrap().unwrap();
    }
}

#[test]
fn the_last_known_addresses_are_used_while_the_name_service_fails_or_hangs() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let names = NameService::default();
    names.set(Some(Ok(address.ip())));
    let dialer = TcpDialer::new(&named(address.port()), &names.resolver());
    let dial = |limit| runtime.block_on(dialer.connect(limit)).map(drop);
    dial(LIMIT).unwrap();
    names.set(Some(Err("no such name")));
    dial(LIMIT).unwrap();
    names.set(None);
    let before = names.lookups();
    for _ in 0..10 {
        // The first one waits for half of the limit.
        dial(Duration::from_secs(2)).unwrap();
    }
    assert_eq!(names.lookups(), before + 1);
    drop(listener);
    let error = dial(Duration::from_secs(1)).unwrap_err().to_string();
    let expected = format!(
        "edge.example: its name was not resolved within 500ms; tried its last known addresses: \
         {address}: Connection refused (os error 111)"
    );
    assert_eq!(error, expected);
    names.set(Some(Err("no such name")));
    eventually("the lookup that hung has failed", || {
        let error = dial(LIMIT).unwrap_err().to_string();
        let is_known = error.starts_with("edge.example: no such name; tried its last known");
        is_known.then_some(())
    });
}

#[test]
fn an_answer_that_comes_after_the_limit_of_a_dial_serves_the_next_one() {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let names = NameService::default();
    let dialer = TcpDialer::new(&named(address.port()), &names.resolver());
    runtime.block_on(dialer.connect(SHORT)).unwrap_err();
    names.set(Some(Ok(address.ip())));
    eventually("the lookup ends", || {
        (names.0.ended.load(Ordering::SeqCst) == 1).then_some(())
    });
    names.set(None);
    eventually("a dial uses the late answer", || {
        runtime.block_on(dialer.connect(SHORT)).ok()
    });
    // The thread of the second lookup may start late.
    eventually("a second lookup runs", || {
        (names.lookups() == 2).then_some(())
    });
    names.set(Some(Err("the end of this test")));
}

#[test]
fn names_that_hang_start_a_bounded_number_of_threads() {
    let runtime = runtime();
    let names = NameService::default();
    let resolver = names.resolver();
    let mut refused = 0;
    for n in 0..200 {
        let address = Address::parse(&format!("edge{n}.example:1")).unwrap();
        let dialer = TcpDialer::new(&address, &resolver);
        let limit = Duration::from_millis(2);
        let error = runtime
            .block_on(dialer.connect(limit))
            .unwrap_err()
            .to_string();
        refused += usize::from(error.ends_with("128 other names are being resolved"));
    }
    assert_eq!(refused, 200 - 128);
    assert!(names.lookups() <= 128);
    names.set(Some(Err("the end of this test")));
}
