//! The way of a connection from the socket to its edge: accepted, admitted, and opened by a
//! handshake.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tracing::{Level, info, warn};

use crate::log::{LogThrottle, Suppressed};
use crate::tls::HandshakeError;

use super::handshakes::Handshakes;
use super::{Acceptor, ByteStream, TlsGate};

/// Interval between log messages about failed handshakes. Suppressed ones are counted.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of one port that were admitted and finished their handshake.
///
/// Handshakes run concurrently, so that none delays another, and only while
/// [`next`](Self::next) is called in a loop.
pub struct AcceptLoop<P> {
    acceptor: Acceptor,
    admit: Box<dyn Fn(SocketAddr) -> Option<P> + Send>,
    handshake: Option<HandshakeStage<P>>,
}

/// The handshake that a port requires.
pub struct HandshakePolicy {
    /// Returns the gate for the next connection. Its parts may change at any time.
    pub gate: Box<dyn Fn() -> TlsGate + Send>,
    /// Maximum number of concurrent handshakes. A further one evicts another.
    pub max_handshakes: usize,
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
    /// The address of the other end.
    pub peer: SocketAddr,
    /// The certificates that the other end presented, its own first; `None` without TLS.
    pub certificates: Option<Vec<CertificateDer<'static>>>,
    /// The permit that the connection holds while it is open.
    pub permit: P,
}

impl<P: Send + 'static> AcceptLoop<P> {
    /// Takes the connections of `acceptor`. `admit` returns the permit of a connection from this
    /// address, or `None` to reject it before any handshake; it counts and logs rejections.
    pub fn new(
        acceptor: Acceptor,
        admit: impl Fn(SocketAddr) -> Option<P> + Send + 'static,
    ) -> Self {
        Self {
            acceptor,
            admit: Box::new(admit),
            handshake: None,
        }
    }

    /// Requires a handshake of each connection.
    pub fn with_handshake(mut self, policy: HandshakePolicy) -> Self {
        self.handshake = Some(HandshakeStage {
            handshakes: Handshakes::new(policy.max_handshakes, policy.port),
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
            let Some(permit) = (self.admit)(peer) else {
                continue;
            };
            match &mut self.handshake {
                None => {
                    return AcceptedStream {
                        stream: Box::new(stream),
                        peer,
                        certificates: None,
                        permit,
                    };
                }
                Some(stage) => {
                    stage.start(stream, peer, permit);
                    // One that was evicted closes before the next is accepted.
                    yield_now().await;
                }
            }
        }
    }
}

impl<P: Send + 'static> HandshakeStage<P> {
    fn start(&mut self, stream: TcpStream, peer: SocketAddr, permit: P) {
        let (gate, failures) = ((self.policy.gate)(), self.failures.clone());
        let (port, log_level) = (self.policy.port, self.policy.log_level);
        self.handshakes.start(peer.ip(), async move {
            match gate.open(stream).await {
                Ok((stream, certificates)) => Some(AcceptedStream {
                    stream,
                    peer,
                    certificates,
                    permit,
                }),
                Err(error) => {
                    if let Some(error) = error
                        && let Some(suppressed) = failures.admit()
                    {
                        log_failure(port, log_level, peer, &error, suppressed);
                    }
                    None
                }
            }
        });
    }
}

fn log_failure(
    port: &str,
    level: Level,
    peer: SocketAddr,
    error: &HandshakeError,
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
