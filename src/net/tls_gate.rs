//! The server's side of TLS: from a connection to one that is encrypted, within
//! limits.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{Instrument, info};

use crate::log::LogThrottle;
use crate::tls::{self, Credentials, HandshakeError, HandshakeErrorCounters, HandshakeErrorKind};

use super::{Handshakes, Listen, Stream, close};

/// The first byte of TLS: a record that holds a handshake (RFC 8446, section
/// 5.1).
pub const HANDSHAKE: u8 = 0x16;

/// What TLS keeps of what is sent and the other end does not read, in bytes:
/// little, so that a client that reads slowly is seen to read.
const BUFFER: usize = 16 * 1024;

/// Most handshakes with clients at a time.
const MAX_HANDSHAKES: usize = 1024;

/// Clients that are through and not yet taken up.
const ACCEPTED: usize = 16;

/// One refusal is told in this time.
const TELL_PAUSE: Duration = Duration::from_secs(1);

/// A connection with TLS.
pub type TlsServerStream<S> = TlsStream<S>;

impl<S: Stream> Stream for TlsServerStream<S> {
    async fn first_byte(&mut self) -> Option<u8> {
        self.fill_buf().await.ok()?.first().copied()
    }
}

/// Where connections become secure.
#[derive(Clone, Debug)]
pub struct TlsGate {
    /// What the server shows, and asks.
    pub credentials: Arc<Credentials>,
    /// How long a handshake may take, from the connection on.
    pub limit: Duration,
    /// What is said to who speaks plaintext, as far as anything can be.
    pub farewell: &'static [u8],
    /// Where those that are refused are counted.
    pub refused: Arc<HandshakeErrorCounters>,
}

impl TlsGate {
    /// Lets a connection in, or says why not; `None` where it never said
    /// anything.
    pub async fn pass<S: Stream>(
        &self,
        stream: S,
    ) -> Result<TlsServerStream<S>, Option<HandshakeError>> {
        let mut has_spoken = false;
        match timeout(self.limit, self.shake_hands(stream, &mut has_spoken)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err((refusal, stream))) => {
                let refusal = refusal.inspect(|refusal| self.count(refusal));
                if let Some(stream) = stream {
                    // Or closing takes back the alert that says why.
                    close(stream).await;
                }
                Err(refusal)
            }
            Err(_) if has_spoken => {
                let words = "it did not finish the TLS handshake in time";
                let refusal = HandshakeError::new(HandshakeErrorKind::Other, words);
                self.count(&refusal);
                Err(Some(refusal))
            }
            Err(_) => Err(None),
        }
    }

    fn count(&self, refusal: &HandshakeError) {
        self.refused.of(refusal.reason).add(1);
    }

    async fn shake_hands<S: Stream>(
        &self,
        mut stream: S,
        has_spoken: &mut bool,
    ) -> Result<TlsServerStream<S>, (Option<HandshakeError>, Option<S>)> {
        let Some(first) = stream.first_byte().await else {
            return Err((None, None));
        };
        *has_spoken = true;
        if first != HANDSHAKE {
            // Whether it is heard makes no difference.
            let _ = stream.write_all(self.farewell).await;
            let words = "it speaks plaintext, and this port is for TLS";
            return Err((
                Some(HandshakeError::new(HandshakeErrorKind::Plaintext, words)),
                Some(stream),
            ));
        }
        let acceptor = TlsAcceptor::from(self.credentials.server_config());
        let accepted = acceptor.accept_with(stream, |tls| tls.set_buffer_limit(Some(BUFFER)));
        let accepted = accepted.into_fallible().await;
        accepted.map_err(|(error, stream)| (Some(refusal(&error)), Some(stream)))
    }
}

fn refusal(error: &io::Error) -> HandshakeError {
    let broken = || match error.kind() {
        io::ErrorKind::UnexpectedEof => "it broke off the TLS handshake".to_owned(),
        _ => format!("the connection broke in the TLS handshake: {error}"),
    };
    tls::refusal(error).unwrap_or_else(|| HandshakeError::new(HandshakeErrorKind::Other, broken()))
}

/// Where clients with TLS come from. Handshakes run beside each other, so that
/// none waits for another.
#[derive(Debug)]
pub struct TlsListener<S> {
    through: mpsc::Receiver<(TlsServerStream<S>, SocketAddr)>,
    /// Ends with this.
    _task: JoinSet<Infallible>,
}

impl<S: Stream> TlsListener<S> {
    /// Takes each connection of `listener` through the door that `door` gives at
    /// that moment. Must be called within a runtime and in the server's span.
    pub fn new(
        listener: impl Listen<Stream = S>,
        door: impl Fn() -> TlsGate + Send + 'static,
    ) -> Self {
        let (sender, through) = mpsc::channel(ACCEPTED);
        let mut task = JoinSet::new();
        task.spawn(take_through(listener, door, sender).in_current_span());
        Self {
            through,
            _task: task,
        }
    }
}

impl<S: Stream> Listen for TlsListener<S> {
    type Stream = TlsServerStream<S>;

    async fn accept(&mut self) -> (TlsServerStream<S>, SocketAddr) {
        match self.through.recv().await {
            Some(accepted) => accepted,
            // The task never ends by itself.
            None => std::future::pending().await,
        }
    }
}

fn take_through<S: Stream>(
    mut listener: impl Listen<Stream = S>,
    door: impl Fn() -> TlsGate + Send + 'static,
    through: mpsc::Sender<(TlsServerStream<S>, SocketAddr)>,
) -> impl Future<Output = Infallible> + Send {
    let refusals = Arc::new(LogThrottle::new(TELL_PAUSE));
    let mut handshakes = Handshakes::new(MAX_HANDSHAKES);
    async move {
        loop {
            let (stream, peer) = listener.accept().await;
            let (door, through, refusals) = (door(), through.clone(), refusals.clone());
            handshakes.run(peer.ip(), async move {
                match door.pass(stream).await {
                    // Fails only when the port is closed.
                    Ok(stream) => drop(through.send((stream, peer)).await),
                    Err(Some(refusal)) => tell(&refusals, peer, &refusal),
                    Err(None) => {}
                }
            });
        }
    }
}

fn tell(refusals: &LogThrottle, peer: SocketAddr, refusal: &HandshakeError) {
    if let Some(suppressed) = refusals.admit() {
        info!("client {peer} did not get in: {refusal}{suppressed}");
    }
}
