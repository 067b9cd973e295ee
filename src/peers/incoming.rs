//! Connections to the peer port: how many there may be, how long they may take
//! to show who they are, and who is behind each.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::server::Connected;
use tracing::{Span, info, warn};

use crate::log::Seldom;
use crate::model::name::Name;
use crate::sockets::{
    ConnectionLimit, Door, HANDSHAKE, Handshakes, Listen, Place, Secured, Stream,
};
use crate::tls::{self, Credentials, Holder};

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
/// `credentials`, only those of others of the same CA come that far.
/// Must run in the server's span.
pub async fn accept<L: Listen>(
    mut listener: L,
    limit: Duration,
    credentials: Option<Arc<Credentials>>,
    ready: mpsc::Sender<io::Result<Connection>>,
) -> Infallible {
    let places = ConnectionLimit::new("connections stand at the peer port");
    let mut handshakes = Handshakes::new(MAX_HANDSHAKES);
    let hall = Arc::new(Hall::new(limit, credentials));
    loop {
        let (stream, address) = listener.accept().await;
        let Some(place) = places.take(MAX_CONNECTIONS) else {
            continue;
        };
        let (hall, ready) = (hall.clone(), ready.clone());
        handshakes.run(async move {
            match hall.admit(stream).await {
                Ok((stream, holder)) => {
                    let connection = Connection::new(stream, address, holder, place);
                    // Fails only when the port is closed.
                    let _ = ready.send(Ok(connection)).await;
                }
                Err(Some(words)) => hall.tell(address, &words),
                Err(None) => {}
            }
        });
    }
}

/// Where connections show who they are.
struct Hall {
    limit: Duration,
    door: Option<Door>,
    refusals: Seldom,
}

impl Hall {
    fn new(limit: Duration, credentials: Option<Arc<Credentials>>) -> Self {
        let door = |credentials| Door {
            credentials,
            limit,
            farewell: FAREWELL,
        };
        Self {
            limit,
            door: credentials.map(door),
            refusals: Seldom::new(TELL_PAUSE),
        }
    }

    /// Gives a connection that speaks, and whom its certificate is for; or why it
    /// does not get in, where it said anything.
    async fn admit<S: Stream>(
        &self,
        mut stream: S,
    ) -> Result<(Box<dyn Duplex>, Option<Holder>), Option<String>> {
        if let Some(door) = &self.door {
            let stream = door.pass(stream).await?;
            let holder = holder_of(&stream);
            return Ok((Box::new(stream), Some(holder)));
        }
        match timeout(self.limit, stream.first_byte()).await {
            Ok(Some(HANDSHAKE)) => Err(Some(
                "it speaks TLS, and this port has none: set [security] in the config".to_owned(),
            )),
            Ok(Some(_)) => Ok((Box::new(stream), None)),
            Ok(None) | Err(_) => Err(None),
        }
    }

    fn tell(&self, address: SocketAddr, words: &str) {
        if let Some(unwritten) = self.refusals.turn() {
            let others = match unwritten {
                0 => String::new(),
                count => format!(" ({count} more before this one were not written)"),
            };
            warn!("refused a connection from {address}: {words}{others}");
        }
    }
}

fn holder_of<S>(stream: &Secured<S>) -> Holder {
    let certificates = stream.get_ref().1.peer_certificates();
    let own = certificates.and_then(|chain| chain.first());
    own.map(Holder::of).unwrap_or_default()
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
    end: Option<String>,
    span: Span,
    _place: Place,
}

/// What is known of the other end of a connection.
#[derive(Clone, Debug)]
pub struct OtherEnd {
    pub(super) address: SocketAddr,
    neighbour: Arc<OnceLock<Name>>,
    holder: Option<Arc<Holder>>,
}

impl OtherEnd {
    /// The neighbour that has greeted over this connection, if one has. It may
    /// be none any more.
    pub(super) fn neighbour(&self) -> Option<&Name> {
        self.neighbour.get()
    }

    /// Whom the certificate is for; `None` without TLS.
    pub(super) fn holder(&self) -> Option<&Holder> {
        self.holder.as_deref()
    }

    /// A neighbour has greeted over this connection. Gives whether it is the
    /// first time.
    pub(super) fn is_known_as(&self, name: &Name) -> bool {
        self.neighbour.set(name.clone()).is_ok()
    }
}

impl Connection {
    fn new(
        stream: Box<dyn Duplex>,
        address: SocketAddr,
        holder: Option<Holder>,
        place: Place,
    ) -> Self {
        let other_end = OtherEnd {
            address,
            neighbour: Arc::default(),
            holder: holder.map(Arc::new),
        };
        Self {
            stream,
            other_end,
            end: None,
            span: Span::current(),
            _place: place,
        }
    }

    fn note_error<T>(&mut self, result: &io::Result<T>) {
        if let Err(error) = result {
            self.end.get_or_insert_with(|| match error.kind() {
                // With TLS, to close without saying so.
                io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
                _ => tls::refusal(error).unwrap_or_else(|| error.to_string()),
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
        if let Some(name) = self.other_end.neighbour.get() {
            let address = self.other_end.address;
            let end = self.end.as_deref().unwrap_or("this server closed it");
            let tell = || info!("neighbour {name} from {address} is gone: {end}");
            self.span.in_scope(tell);
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = OtherEnd;

    fn connect_info(&self) -> OtherEnd {
        self.other_end.clone()
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
                self.end.get_or_insert_with(|| CLOSED.to_owned());
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
