//! Connections to the peer port: how many there may be, how long they may take
//! to show who they are, and who is behind each.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
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
use tracing::{Instrument, Span, info, warn};

use crate::gateway::Gateway;
use crate::log::{LogThrottle, unwritten};
use crate::model::name::Name;
use crate::net::{
    EvictingLimit, HANDSHAKE, Handshakes, Listen, Slot, Stream, TlsGate, TlsServerStream,
};
use crate::tls::{self, Credentials, HandshakeError, HandshakeErrorKind, PeerIdentity};

/// Most connections to a peer port. A neighbour has one; the rest is for
/// operators, and a bound for strangers.
const MAX_CONNECTIONS: usize = 1024;

/// Most of those that have not shown yet who they are.
const MAX_HANDSHAKES: usize = 256;

/// One refusal is written in this time.
const TELL_PAUSE: Duration = Duration::from_secs(1);

/// What who speaks HTTP/2 in plaintext hears at a port for TLS, in its own
/// language (RFC 9113, section 6): an empty SETTINGS, and a GOAWAY for
/// INADEQUATE_SECURITY with the words behind it.
const FAREWELL: &[u8] = b"\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x1c\x07\0\0\0\0\0\
    \0\0\0\0\0\0\0\x0cthis port is for TLS";

/// Hands the connections of `listener` on, as they begin to speak; closes those
/// that do not within `limit`, since whoever speaks HTTP/2 speaks first. With
/// `credentials`, only those of others of the same CA come that far, and stay for
/// as long as they would be let in. Those that are refused are counted with
/// `gateway`. Must run in the server's span.
pub async fn accept<L: Listen>(
    mut listener: L,
    limit: Duration,
    credentials: Option<Arc<Credentials>>,
    gateway: Arc<Gateway>,
    ready: mpsc::Sender<Connection>,
) -> Infallible {
    let crowd = EvictingLimit::new(MAX_CONNECTIONS, "connections stand at the peer port");
    let mut handshakes = Handshakes::new(MAX_HANDSHAKES);
    let hall = Arc::new(Hall::new(limit, credentials, gateway));
    loop {
        let (stream, address) = listener.accept().await;
        let (hall, crowd, ready) = (hall.clone(), crowd.clone(), ready.clone());
        handshakes.run(address.ip(), async move {
            match hall.admit(stream).await {
                Ok(guest) => {
                    let place = crowd.enter(address.ip());
                    let connection = Connection::new(guest, address, place, hall);
                    // Fails only when the port is closed.
                    let _ = ready.send(connection).await;
                }
                Err(Some(refusal)) => hall.tell(address, &refusal),
                Err(None) => {}
            }
        });
    }
}

/// Where connections show who they are.
struct Hall {
    limit: Duration,
    door: Option<TlsGate>,
    gateway: Arc<Gateway>,
    refusals: LogThrottle,
}

/// A connection that was let in.
struct Guest {
    stream: Box<dyn Duplex>,
    /// Whom its certificate is for; `None` without TLS.
    holder: Option<PeerIdentity>,
    /// What it showed, the certificate of its own first.
    chain: Vec<CertificateDer<'static>>,
}

impl Hall {
    fn new(limit: Duration, credentials: Option<Arc<Credentials>>, gateway: Arc<Gateway>) -> Self {
        let door = |credentials| TlsGate {
            credentials,
            limit,
            farewell: FAREWELL,
            refused: gateway.counts().peers_refused().clone(),
        };
        Self {
            limit,
            door: credentials.map(door),
            refusals: LogThrottle::new(TELL_PAUSE),
            gateway,
        }
    }

    /// Lets a connection in that speaks; or says why it does not get in, where it
    /// said anything.
    async fn admit<S: Stream>(&self, mut stream: S) -> Result<Guest, Option<HandshakeError>> {
        if let Some(door) = &self.door {
            return door.pass(stream).await.map(Guest::secured);
        }
        match timeout(self.limit, stream.first_byte()).await {
            Ok(Some(HANDSHAKE)) => {
                let words = "it speaks TLS, and this port has none: set [security] in the config";
                let refusal = HandshakeError::new(HandshakeErrorKind::Other, words);
                self.count(&refusal);
                Err(Some(refusal))
            }
            Ok(Some(_)) => Ok(Guest::in_clear(stream)),
            Ok(None) | Err(_) => Err(None),
        }
    }

    fn count(&self, refusal: &HandshakeError) {
        let refused = self.gateway.counts().peers_refused();
        refused.of(refusal.reason).add(1);
    }

    fn tell(&self, address: SocketAddr, refusal: &HandshakeError) {
        if let Some(untold) = self.refusals.turn() {
            let others = unwritten(untold);
            warn!("refused a connection from {address}: {refusal}{others}");
        }
    }

    /// Resolves when whoever showed these certificates may stay no longer, and
    /// says why.
    async fn dismissal(
        self: Arc<Self>,
        address: SocketAddr,
        chain: Vec<CertificateDer<'static>>,
    ) -> String {
        let Some(door) = &self.door else {
            return std::future::pending().await;
        };
        let refusal = tls::standing(door.credentials.clone(), chain).await;
        self.count(&refusal);
        warn!("closed the connection from {address}: {refusal}");
        refusal.words
    }
}

impl Guest {
    fn in_clear(stream: impl Stream) -> Self {
        Self {
            stream: Box::new(stream),
            holder: None,
            chain: Vec::new(),
        }
    }

    fn secured(stream: TlsServerStream<impl Stream>) -> Self {
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

/// What bytes go through, both ways.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How most connections end.
const CLOSED: &str = "it closed the connection";

/// One connection. Tells when it ends, if a neighbour was behind it, and why.
pub struct Connection {
    stream: Box<dyn Duplex>,
    other_end: OtherEnd,
    dismissal: Dismissal,
    span: Span,
}

type Dismissal = Pin<Box<dyn Future<Output = String> + Send>>;

/// What is known of the other end of a connection.
#[derive(Clone, Debug)]
pub struct OtherEnd {
    pub(super) address: SocketAddr,
    neighbour: Arc<OnceLock<Name>>,
    holder: Option<Arc<PeerIdentity>>,
    place: Arc<Slot>,
    /// Why the connection ended, once it has.
    end: Arc<OnceLock<String>>,
}

impl OtherEnd {
    /// The neighbour that has greeted over this connection, if one has. It may
    /// be none any more.
    pub(super) fn neighbour(&self) -> Option<&Name> {
        self.neighbour.get()
    }

    /// Whom the certificate is for; `None` without TLS.
    pub(super) fn holder(&self) -> Option<&PeerIdentity> {
        self.holder.as_deref()
    }

    /// The connection ends, for this reason, if it had not ended before.
    pub(super) fn end(&self, words: String) {
        let _ = self.end.set(words);
    }

    /// A neighbour was welcome over this connection. Gives whether it is the
    /// first time.
    pub(super) fn is_known_as(&self, name: &Name) -> bool {
        let is_first = self.neighbour.get().is_none() && self.neighbour.set(name.clone()).is_ok();
        if is_first {
            self.place.become_known();
        }
        is_first
    }
}

impl Connection {
    fn new(guest: Guest, address: SocketAddr, place: Slot, hall: Arc<Hall>) -> Self {
        let lost = place.lost();
        let dismissed = hall.dismissal(address, guest.chain);
        let dismissal = async move {
            tokio::select! {
                () = lost => "it gave way to a newer one".to_owned(),
                words = dismissed => words,
            }
        };
        let other_end = OtherEnd {
            address,
            neighbour: Arc::default(),
            holder: guest.holder.map(Arc::new),
            place: Arc::new(place),
            end: Arc::default(),
        };
        Self {
            stream: guest.stream,
            other_end,
            dismissal: Box::pin(dismissal.in_current_span()),
            span: Span::current(),
        }
    }

    /// Who is at the other end.
    pub(super) fn other_end(&self) -> &OtherEnd {
        &self.other_end
    }

    /// Resolves when this server has to end the connection, and says why.
    pub(super) fn dismissal(&mut self) -> Dismissal {
        std::mem::replace(&mut self.dismissal, Box::pin(std::future::pending()))
    }

    fn note_error<T>(&mut self, result: &io::Result<T>) {
        if let Err(error) = result {
            self.other_end.end(match error.kind() {
                // With TLS, to close without saying so.
                io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
                _ => tls::refusal(error).map_or_else(|| error.to_string(), |tls| tls.words),
            });
        }
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
        self.other_end.place.leave();
        if let Some(name) = self.other_end.neighbour.get() {
            let address = self.other_end.address;
            let end = self.other_end.end.get();
            let end = end.map_or("this server closed it", String::as_str);
            let tell = || info!("neighbour {name} from {address} is gone: {end}");
            self.span.in_scope(tell);
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
                self.other_end.end(CLOSED.to_owned());
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
