//! Attacks on a peer port without TLS: whatever strangers hold open, a restarted
//! neighbour can still connect.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::common::{Herd, eventually};
use hyper_util::rt::TokioIo;
use proxyherd::proto::{Codec, PushFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

const PAIR: crate::common::Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

/// The address that links dial from.
const NEIGHBOUR_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// An address that no link dials from.
const OTHER_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

/// The number of connections of an attack: more than a peer port has slots for
/// (`net::FileBudget`).
const CONNECTIONS: usize = 1100;

/// The number of calls of an attack: more than a peer port has slots for.
const CALLS: usize = 128;

/// The number of open files that an attack needs: both ends of each connection are in
/// this process, and a second attack may run beside the first.
const OPEN_FILES: u64 = 8192;

/// The time between two tries of one attacker: together they try many times a second,
/// and few enough for the machine.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// An attack, which ends when it is dropped.
struct Attack {
    /// The number of connections or calls that the server has ended.
    ends: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Attack {
    fn start<A: Future<Output = ()> + Send>(
        attackers: usize,
        attack: impl Fn() -> A + Clone + Send + 'static,
    ) -> Self {
        rlimit::increase_nofile_limit(OPEN_FILES).unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let ends = Arc::new(AtomicU64::new(0));
        for _ in 0..attackers {
            let (attack, ends) = (attack.clone(), ends.clone());
            runtime.spawn(async move {
                loop {
                    attack().await;
                    ends.fetch_add(1, Relaxed);
                    sleep(RETRY_INTERVAL).await;
                }
            });
        }
        Self {
            ends,
            _runtime: runtime,
        }
    }

    /// Starts connections without calls that answer every ping, and that are opened
    /// again when the server closes them.
    fn by_connections(target: SocketAddr, from: IpAddr) -> Self {
        Self::start(CONNECTIONS, move || async move {
            let stream = dial(target, from).await;
            let _ = stay(stream.unwrap()).await;
        })
    }

    /// Starts calls that never send a message, and that are repeated when they end.
    fn by_calls(target: SocketAddr, from: IpAddr, method: &'static str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{target}")).unwrap();
        let channel = move || {
            let dial =
                tower::service_fn(
                    move |_| async move { dial(target, from).await.map(TokioIo::new) },
                );
            endpoint.connect_with_connector_lazy(dial)
        };
        Self::start(CALLS, move || {
            let channel = channel();
            async move { hold(channel, method).await }
        })
    }

    /// Waits until all slots are taken and the server has evicted attackers.
    #[track_caller]
    fn await_evictions(&self) {
        let before = self.ends.load(Relaxed);
        eventually("the server evicts attackers", || {
            (self.ends.load(Relaxed) > before + 50).then_some(())
        });
    }
}

async fn dial(target: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(target).await
}

/// Speaks enough HTTP/2 (RFC 9113) to keep the connection open until the server closes it.
async fn stay(mut stream: TcpStream) -> std::io::Result<()> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const PING: u8 = 6;
    stream.write_all(PREFACE).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if head[3] == PING && head[4] == 0 {
            head[4] = 1;
            stream.write_all(&[&head[..], &payload].concat()).await?;
        }
    }
}

async fn hold(channel: Channel, method: &str) {
    let mut client = Grpc::new(channel);
    if client.ready().await.is_err() {
        return;
    }
    let codec = Codec::<PushFrame, PushFrame>::default();
    let path = format!("/proxyherd.v1.Propagate/{method}");
    let nothing = Request::new(tokio_stream::pending());
    let _ = client
        .client_streaming(nothing, path.parse().unwrap(), codec)
        .await;
}

/// Attacks Riley while Jaquez restarts, and asserts that both are linked again and hold the
/// same reports.
#[track_caller]
fn assert_link_comes_back(attack: impl Fn(SocketAddr) -> Attack) {
    let mut herd = Herd::start(PAIR);
    let attack = attack(herd.peers_address("Riley"));
    attack.await_evictions();
    assert!(
        herd.is_up("Jaquez", "Riley"),
        "a known neighbour keeps its connection"
    );
    for round in 1..=3 {
        herd.kill("Jaquez");
        // Attackers take its slot too.
        attack.await_evictions();
        herd.launch("Jaquez");
        herd.await_links();
        herd.client("Jaquez")
            .ask(&format!("IAMAT kiwi +{round}+1 {round}"));
        herd.await_everywhere("kiwi", &format!("+{round}+1"));
    }
}

#[test]
fn a_restarted_neighbour_connects_beside_connections_from_another_address() {
    assert_link_comes_back(|target| Attack::by_connections(target, OTHER_ADDRESS));
}

#[test]
fn a_restarted_neighbour_connects_beside_connections_from_its_own_address() {
    assert_link_comes_back(|target| Attack::by_connections(target, NEIGHBOUR_ADDRESS));
}

#[test]
fn a_restarted_neighbour_connects_beside_calls_from_another_address() {
    assert_link_comes_back(|target| Attack::by_calls(target, OTHER_ADDRESS, "Push"));
}

#[test]
fn a_restarted_neighbour_connects_beside_greetings_from_its_own_address() {
    assert_link_comes_back(|target| Attack::by_calls(target, NEIGHBOUR_ADDRESS, "Greet"));
}
