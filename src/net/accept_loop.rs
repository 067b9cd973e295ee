//! The way of a connection from the socket to its edge: accepted, admitted, and opened by
//! handshakes. A connection of a proxy first names its client, and that is admitted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tracing::{Level, info, warn};

use crate::log::{LogThrottle, Suppressed};
use crate::metrics::Counter;

use super::handshakes::Handshakes;
use super::{Acceptor, ByteStream, ProxyGate, TlsGate};

/// Interval between log messages about failed handshakes. Suppressed ones are counted.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of one port that were admitted and finished their handshake.
///
/// Handshakes run concurrently, so that none delays another, and only while
/// [`next`](Self::next) is called in a loop.
pub struct AcceptLoop<P> {
    acceptor: Acceptor,
    admit: Arc<Admit<P>>,
    handshake: Option<HandshakeStage<P>>,
}

type Admit<P> = dyn Fn(SocketAddr) -> Option<P> + Send + Sync;

/// The handshakes at a port: the header of a proxy, and TLS.
pub struct HandshakePolicy {
    /// Returns the gate of the header that a connection from this address begins with, or `None`
    /// if it is no proxy.
    pub proxy_gate: Box<dyn Fn(IpAddr) -> Option<ProxyGate> + Send>,
    /// Returns the gate for the next connection. Its parts may change at any time. Without it
    /// there is none.
    pub gate: Option<Box<dyn Fn() -> TlsGate + Send>>,
    /// Maximum number of concurrent handshakes. A further one evicts another.
    pub max_handshakes: usize,
    /// Counter of evicted handshakes.
    pub evicted: Arc<Counter>,
    /// The port's name in the log: "client" or "peer".
    pub port: &'static str,
    /// The level at which failures are logged: WARN or INFO.
    pub log_level: Level,
}

struct HandshakeStage<P> {
    policy: HandshakePolicy,
    handshakes: Handshakes<AcceptedStream<P>>,
    failures: Arc<LogThrottle>,
}

/// A connection that is ready to be served.
pub struct AcceptedStream<P> {
    /// The connection.
    pub stream: Box<dyn ByteStream>,
    /// The address of the other end, or of the client that a proxy named.
    pub peer: SocketAddr,
    /// The certificates that the other end presented, its own first; `None` without TLS.
    pub certificates: Option<Vec<CertificateDer<'static>>>,
    /// The permit that the connection holds while it is open.
    pub permit: P,
}

impl<P: Send + 'static> AcceptLoop<P> {
    /// Takes the connections of `acceptor`. `admit` returns the permit of a connection from this
    /// address, or `None` to reject it before TLS; it counts and logs rejections.
    pub fn new(
        acceptor: Acceptor,
        admit: impl Fn(SocketAddr) -> Option<P> + Send + Sync + 'static,
    ) -> Self {
        Self {
            acceptor,
            admit: Arc::new(admit),
            handshake: None,
        }
    }

    /// Requires handshakes.
    pub fn with_handshake(mut self, policy: HandshakePolicy) -> Self {
        let (max, evicted) = (policy.max_handshakes, policy.evicted.clone());
        self.handshake = Some(HandshakeStage {
            handshakes: Handshakes::new(max, policy.port, evicted),
            failures: Arc::new(LogThrottle::new(FAILURE_LOG_INTERVAL)),
            policy,
        });
        self
    }

    /// Returns the next connection. Cancel safe. Must be called in the server's span.
    pub async fn next(&mut self) -> AcceptedStream<P> {
        loop {
            let (stream, peer) = match &mut self.handshake {
                None => self.acceptor.accept().await,
                Some(stage) => tokio::select! {
                    biased;
                    Some(opened) = stage.handshakes.next() => return opened,
                    accepted = self.acceptor.accept() => accepted,
                },
            };
            let stage = self.handshake.as_mut();
            let proxy_gate = stage
                .as_ref()
                .and_then(|s| (s.policy.proxy_gate)(peer.ip()));
            match (stage, proxy_gate) {
                // A proxy's own address is not judged, only that of its client.
                (Some(stage), Some(gate)) => {
                    stage.start(stream, peer, Entry::Proxied(gate, self.admit.clone()));
                }
                (stage, _) => {
                    let Some(permit) = (self.admit)(peer) else {
                        continue;
                    };
                    let Some(stage) = stage.filter(|stage| stage.policy.gate.is_some()) else {
                        return AcceptedStream {
                            stream: Box::new(stream),
                            peer,
                            certificates: None,
                            permit,
                        };
                    };
                    stage.start(stream, peer, Entry::Admitted(permit));
                }
            }
            // One that was evicted closes before the next is accepted.
            yield_now().await;
        }
    }
}

/// What precedes the TLS handshake of a connection.
enum Entry<P> {
    /// Nothing: it is admitted.
    Admitted(P),
    /// The header of a proxy names the client, which is to be admitted.
    Proxied(ProxyGate, Arc<Admit<P>>),
}

impl<P: Send + 'static> HandshakeStage<P> {
    fn start(&mut self, mut stream: TcpStream, address: SocketAddr, entry: Entry<P>) {
        let gate = self.policy.gate.as_ref().map(|gate| gate());
        let failures = self.failures.clone();
        let (port, level) = (self.policy.port, self.policy.log_level);
        let log = move |from: SocketAddr, error: &dyn fmt::Display| {
            if let Some(suppressed) = failures.admit() {
                log_failure(port, level, from, error, suppressed);
            }
        };
        self.handshakes.start(address.ip(), async move {
            let (peer, permit) = match entry {
                Entry::Admitted(permit) => (address, permit),
                Entry::Proxied(gate, admit) => {
                    let named = gate.open(&mut stream).await;
                    let named = named.inspect_err(|error| {
                        error.iter().for_each(|error| log(address, error));
                    });
                    let peer = named.ok()?.unwrap_or(address);
                    (peer, admit(peer)?)
                }
            };
            let (stream, certificates) = match gate {
                None => (Box::new(stream) as Box<dyn ByteStream>, None),
                Some(gate) => {
                    let opened = gate.open(stream).await;
                    let opened = opened.inspect_err(|error| {
                        error.iter().for_each(|error| log(peer, error));
                    });
                    opened.ok()?
                }
            };
            Some(AcceptedStream {
                stream,
                peer,
                certificates,
                permit,
            })
        });
    }
}

fn log_failure(
    port: &str,
    level: Level,
    peer: SocketAddr,
    error: &dyn fmt::Display,
    suppressed: Suppressed,
) {
    let message =
        format_args!("rejected a connection from {peer} to the {port} port: {error}{suppressed}");
    if level == Level::WARN {
        warn!("{message}");
    } else {
        info!("{message}");
    }
}

impl<P> fmt::Debug for AcceptLoop<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AcceptLoop").field(&self.acceptor).finish()
    }
}
