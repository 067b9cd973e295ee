//! Connections to the peer port: their limits, their certificates, and what is known of
//! the other end of each.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{Instrument, Span, info, warn};

use crate::gateway::Gateway;
use crate::log::LogThrottle;
use crate::model::name::Name;
use crate::net::{
    EvictingLimit, HANDSHAKE, Handshakes, Listen, Slot, Stream, TlsGate, TlsServerStream,
};
use crate::tls::{self, Credentials, HandshakeError, HandshakeErrorKind, PeerIdentity};

use super::closable::{ByteStream, Closable};

/// Maximum number of connections to a peer port. A neighbour has one; the rest is for
/// operators, and bounds strangers.
const MAX_CONNECTIONS: usize = 1024;

/// Maximum number of connections that have not sent a first byte, or not finished the
/// TLS handshake.
const MAX_HANDSHAKES: usize = 256;

/// Minimum time between two log lines about rejected connections.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The reply to plaintext HTTP/2 on a port for TLS, in HTTP/2 (RFC 9113, section 6): an
/// empty SETTINGS, and a GOAWAY with INADEQUATE_SECURITY and a text.
const PLAINTEXT_REPLY: &[u8] = b"\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x1c\x07\0\0\0\0\0\
    \0\0\0\0\0\0\0\x0cthis port is for TLS";

/// Sends the connections of `listener` on as soon as they send a first byte, and closes
/// those that do not within `limit`: in HTTP/2 the client sends first. With
/// `credentials`, only connections with a certificate of the same CA are accepted, and
/// stay for as long as they would be accepted again. All of them close when `port`
/// closes. Rejected ones are counted with `gateway`. Must run in the server's span.
pub(super) async fn accept<L: Listen>(
    mut listener: L,
    limit: Duration,
    credentials: Option<Arc<Credentials>>,
    gateway: Arc<Gateway>,
    port: CancellationToken,
    accepted: mpsc::Sender<Connection>,
) -> Infallible {
    let slots = EvictingLimit::new(MAX_CONNECTIONS, "connections stand at the peer port");
    let mut handshakes = Handshakes::new(MAX_HANDSHAKES);
    let entrance = Arc::new(Entrance::new(limit, credentials, gateway, port));
    loop {
        let (stream, address) = listener.accept().await;
        let (entrance, slots, accepted) = (entrance.clone(), slots.clone(), accepted.clone());
        handshakes.run(address.ip(), async move {
            match entrance.admit(stream).await {
                Ok(stream) => {
                    let slot = slots.enter(address.ip());
                    let connection = Connection::new(stream, address, slot, entrance);
                    // Fails only when the port is closed.
                    let _ = accepted.send(connection).await;
                }
                Err(Some(rejection)) => entrance.log(address, &rejection),
                Err(None) => {}
            }
        });
    }
}

/// The judgement of connections before they may make calls.
struct Entrance {
    limit: Duration,
    gate: Option<TlsGate>,
    gateway: Arc<Gateway>,
    port: CancellationToken,
    rejections: LogThrottle,
}

/// A byte stream that was accepted.
struct AcceptedStream {
    stream: Box<dyn ByteStream>,
    /// The subject of its certificate; `None` without TLS.
    holder: Option<PeerIdentity>,
    /// Its certificates, its own first.
    chain: Vec<CertificateDer<'static>>,
}

impl Entrance {
    fn new(
        limit: Duration,
        credentials: Option<Arc<Credentials>>,
        gateway: Arc<Gateway>,
        port: CancellationToken,
    ) -> Self {
        let gate = |credentials| TlsGate {
            credentials,
            limit,
            farewell: PLAINTEXT_REPLY,
            refused: gateway.counters().peer_connections_rejected.tls.clone(),
        };
        Self {
            limit,
            gate: credentials.map(gate),
            rejections: LogThrottle::new(LOG_INTERVAL),
            gateway,
            port,
        }
    }

    /// Accepts a connection that sends something; otherwise returns the cause, if it
    /// sent anything at all.
    async fn admit<S: Stream>(
        &self,
        mut stream: S,
    ) -> Result<AcceptedStream, Option<HandshakeError>> {
        if let Some(gate) = &self.gate {
            return gate.pass(stream).await.map(AcceptedStream::tls);
        }
        match timeout(self.limit, stream.first_byte()).await {
            Ok(Some(HANDSHAKE)) => {
                let cause = "it speaks TLS, and this port has none: set [security] in the config";
                let rejection = HandshakeError::new(HandshakeErrorKind::Other, cause);
                self.count(&rejection);
                Err(Some(rejection))
            }
            Ok(Some(_)) => Ok(AcceptedStream::plaintext(stream)),
            Ok(None) | Err(_) => Err(None),
        }
    }

    fn count(&self, rejection: &HandshakeError) {
        let counters = &self.gateway.counters().peer_connections_rejected.tls;
        counters.of(rejection.reason).add(1);
    }

    fn log(&self, address: SocketAddr, rejection: &HandshakeError) {
        if let Some(suppressed) = self.rejections.admit() {
            warn!("rejected a connection from {address}: {rejection}{suppressed}");
        }
    }

    /// Resolves with the cause when a connection with these certificates may stay no
    /// longer.
    async fn untrusted(
        self: Arc<Self>,
        address: SocketAddr,
        chain: Vec<CertificateDer<'static>>,
    ) -> String {
        let Some(gate) = &self.gate else {
            return std::future::pending().await;
        };
        let rejection = tls::standing(gate.credentials.clone(), chain).await;
        self.count(&rejection);
        warn!("closed the connection from {address}: {rejection}");
        rejection.words
    }
}

impl AcceptedStream {
    fn plaintext(stream: impl Stream) -> Self {
        Self {
            stream: Box::new(stream),
            holder: None,
            chain: Vec::new(),
        }
    }

    fn tls(stream: TlsServerStream<impl Stream>) -> Self {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain: Vec<_> = chain
            .iter()
            .cloned()
            .map(CertificateDer::into_owned)
            .collect();
        Self {
            holder: Some(chain.first().map(PeerIdentity::of).unwrap_or_default()),
            chain,
            stream: Box::new(stream),
        }
    }
}

/// The usual end of a connection.
const CLOSED: &str = "it closed the connection";

/// The end of a connection whose server shuts down.
const CLOSED_HERE: &str = "this server closed it";

/// One connection. Logs its end and the reason, if a neighbour used it.
pub(super) struct Connection {
    stream: Closable,
    other_end: OtherEnd,
    span: Span,
}

/// What is known of the other end of a connection. Clones are of the same connection.
#[derive(Clone, Debug)]
pub struct OtherEnd {
    pub(super) address: SocketAddr,
    neighbour: Arc<OnceLock<Name>>,
    holder: Option<Arc<PeerIdentity>>,
    slot: Arc<Slot>,
    /// Why the connection ended, once it has.
    end: Arc<OnceLock<String>>,
    close: CancellationToken,
}

impl OtherEnd {
    /// The neighbour that has greeted over this connection, if one has. A reload may
    /// have removed it since.
    pub(super) fn neighbour(&self) -> Option<&Name> {
        self.neighbour.get()
    }

    /// The subject of the certificate; `None` without TLS.
    pub(super) fn holder(&self) -> Option<&PeerIdentity> {
        self.holder.as_deref()
    }

    /// Closes the connection, for this reason.
    pub(super) fn close(&self, reason: String) {
        self.note_end(reason);
        self.close.cancel();
    }

    /// Notes that a neighbour uses this connection. Returns true if it is the first
    /// time.
    pub(super) fn set_neighbour(&self, name: &Name) -> bool {
        let is_first = self.neighbour.get().is_none() && self.neighbour.set(name.clone()).is_ok();
        if is_first {
            self.slot.become_known();
        }
        is_first
    }

    /// Only the first reason counts.
    fn note_end(&self, reason: String) {
        let _ = self.end.set(reason);
    }
}

impl Connection {
    fn new(
        accepted: AcceptedStream,
        address: SocketAddr,
        slot: Slot,
        entrance: Arc<Entrance>,
    ) -> Self {
        let evicted = slot.lost();
        let close = CancellationToken::new();
        let (port, closed) = (entrance.port.clone(), close.clone());
        let untrusted = entrance.untrusted(address, accepted.chain);
        let closing = async move {
            tokio::select! {
                () = evicted => "it gave way to a newer one".to_owned(),
                reason = untrusted => reason,
                () = closed.cancelled() => CLOSED_HERE.to_owned(),
                () = port.cancelled() => CLOSED_HERE.to_owned(),
            }
        };
        let other_end = OtherEnd {
            address,
            neighbour: Arc::default(),
            holder: accepted.holder.map(Arc::new),
            slot: Arc::new(slot),
            end: Arc::default(),
            close,
        };
        Self {
            stream: Closable::new(accepted.stream, closing.in_current_span()),
            other_end,
            span: Span::current(),
        }
    }

    fn note_error<T>(&mut self, result: &io::Result<T>) {
        if let Err(error) = result {
            self.other_end.note_end(match error.kind() {
                // With TLS: a close without an alert.
                io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
                _ => tls::refusal(error).map_or_else(|| error.to_string(), |tls| tls.words),
            });
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = OtherEnd;

    fn connect_info(&self) -> OtherEnd {
        self.other_end.clone()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({:?})", self.other_end)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Calls that have not ended yet may hold it.
        self.other_end.slot.leave();
        if let Some(name) = self.other_end.neighbour.get() {
            let address = self.other_end.address;
            let end = self.other_end.end.get();
            let end = end.map_or(CLOSED_HERE, String::as_str);
            let log = || info!("neighbour {name} from {address} is gone: {end}");
            self.span.in_scope(log);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(result) = &read {
            self.note_error(result);
            if result.is_ok() && buffer.filled().len() == before && buffer.remaining() > 0 {
                self.other_end.note_end(CLOSED.to_owned());
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(result) = &written {
            self.note_error(result);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(result) = &written {
            self.note_error(result);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
