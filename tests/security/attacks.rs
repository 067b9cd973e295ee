//! Strangers that press on a peer port without TLS: whatever they hold open, a
//! neighbour that has restarted gets in among them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

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

/// Links dial from here,
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// and never from there.
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

/// More connections than a peer port has places for, and more calls.
const CONNECTIONS: usize = 1100;
const CALLS: usize = 128;

/// Between two tries of the same attacker: many a second together, and few
/// enough for the machine.
const PAUSE: Duration = Duration::from_millis(50);

/// An attack, until it is dropped.
struct Attack {
    /// How often somebody was thrown out.
    ends: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Attack {
    fn start<A: Future<Output = ()> + Send>(
        attackers: usize,
        attack: impl Fn() -> A + Clone + Send + 'static,
    ) -> Self {
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
                    sleep(PAUSE).await;
                }
            });
        }
        Self {
            ends,
            _runtime: runtime,
        }
    }

    /// Connections on which nothing is asked, and every ping is answered; opened
    /// again when they are closed.
    fn by_connections(target: SocketAddr, from: IpAddr) -> Self {
        Self::start(CONNECTIONS, move || async move {
            let stream = dial(target, from).await;
            // Until it is cut.
            let _ = stay(stream.unwrap()).await;
        })
    }

    /// Calls that never say what they are about, made again when they end.
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

    /// Waits until all places were taken, and somebody had to go.
    #[track_caller]
    fn await_pressure(&self) {
        let before = self.ends.load(Relaxed);
        eventually("the attack presses", || {
            (self.ends.load(Relaxed) > before + 50).then_some(())
        });
    }
}

async fn dial(target: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(target).await
}

/// Speaks as much HTTP/2 as it takes to be left alone (RFC 9113).
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

/// Riley is attacked, Jaquez restarts; both are soon linked again, and know of
/// each other's clients.
#[track_caller]
fn assert_taken_back(attack: impl Fn(SocketAddr) -> Attack) {
    let mut herd = Herd::start(PAIR);
    let attack = attack(herd.peers_address("Riley"));
    attack.await_pressure();
    assert!(herd.is_up("Jaquez", "Riley"), "who was known stays");
    for round in 1..=3 {
        herd.kill("Jaquez");
        // Its place is taken too.
        attack.await_pressure();
        let start = Instant::now();
        herd.launch("Jaquez");
        herd.await_links();
        herd.client("Jaquez")
            .ask(&format!("IAMAT kiwi +{round}+1 {round}"));
        herd.await_everywhere("kiwi", &format!("+{round}+1"));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "round {round}: {took:?}");
    }
}

#[test]
fn connections_from_elsewhere_keep_no_neighbour_out() {
    assert_taken_back(|target| Attack::by_connections(target, ELSEWHERE));
}

#[test]
fn connections_from_its_own_address_keep_no_neighbour_out() {
    assert_taken_back(|target| Attack::by_connections(target, HERE));
}

#[test]
fn calls_from_elsewhere_keep_no_neighbour_out() {
    assert_taken_back(|target| Attack::by_calls(target, ELSEWHERE, "Push"));
}

#[test]
fn greetings_from_its_own_address_keep_no_neighbour_out() {
    assert_taken_back(|target| Attack::by_calls(target, HERE, "Greet"));
}
