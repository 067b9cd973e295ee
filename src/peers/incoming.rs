//! Connections to the peer port: how many there may be, how long they may stay
//! silent before their first byte, and who is behind each.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tonic::transport::server::Connected;
use tracing::{Instrument, Span, info};

use crate::model::name::Name;
use crate::sockets::{ConnectionLimit, Listen, Stream};

/// Most connections to a peer port. A neighbour has one; the rest is for
/// operators, and a bound for strangers.
const MAX_CONNECTIONS: usize = 1024;

/// Hands the connections of `listener` on, as they begin to speak; closes those
/// that do not within `first_byte`, since whoever speaks HTTP/2 speaks first.
/// Must run in the server's span.
pub async fn accept<L: Listen>(
    mut listener: L,
    first_byte: Duration,
    ready: mpsc::Sender<io::Result<Connection<L::Stream>>>,
) -> Infallible {
    let limit = ConnectionLimit::new(MAX_CONNECTIONS, "connections stand at the peer port");
    loop {
        let (mut stream, address) = listener.accept().await;
        let Some(place) = limit.take() else { continue };
        let ready = ready.clone();
        let hand_on = async move {
            if let Ok(true) = timeout(first_byte, stream.has_spoken()).await {
                // Fails only when the port is closed.
                let _ = ready
                    .send(Ok(Connection::new(stream, address, place)))
                    .await;
            }
        };
        tokio::spawn(hand_on.in_current_span());
    }
}

/// One connection. Tells when it ends, if a neighbour was behind it, and why.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    other_end: OtherEnd,
    end: Option<String>,
    span: Span,
    _place: OwnedSemaphorePermit,
}

/// What is known of the other end of a connection.
#[derive(Clone, Debug)]
pub struct OtherEnd {
    pub(super) address: SocketAddr,
    neighbour: Arc<OnceLock<Name>>,
}

impl OtherEnd {
    /// Has a neighbour greeted over this connection?
    pub(super) fn is_neighbour(&self) -> bool {
        self.neighbour.get().is_some()
    }

    /// A neighbour has greeted over this connection. Gives whether it is the
    /// first time.
    pub(super) fn is_known_as(&self, name: &Name) -> bool {
        self.neighbour.set(name.clone()).is_ok()
    }
}

impl<S> Connection<S> {
    fn new(stream: S, address: SocketAddr, place: OwnedSemaphorePermit) -> Self {
        let other_end = OtherEnd {
            address,
            neighbour: Arc::default(),
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
            self.end.get_or_insert_with(|| error.to_string());
        }
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if let Some(name) = self.other_end.neighbour.get() {
            let address = self.other_end.address;
            let end = self.end.as_deref().unwrap_or("this server closed it");
            let tell = || info!("neighbour {name} from {address} is gone: {end}");
            self.span.in_scope(tell);
        }
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = OtherEnd;

    fn connect_info(&self) -> OtherEnd {
        self.other_end.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
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
                self.end
                    .get_or_insert_with(|| "it closed the connection".to_owned());
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
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
