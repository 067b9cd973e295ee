//! The simulated network, as the product wants it.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use proxyherd::model::address::Address;
use proxyherd::net::{Listen, Stream};
use proxyherd::peers::{self, Connecting};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::setup::CLIENT_MARK;

thread_local! {
    static REPORTS: Cell<u64> = const { Cell::new(0) };
}

/// How many reports servers have sent to each other in the simulations of this
/// thread. Few are missed: those whose client ID was cut between two writes.
pub(crate) fn reports_sent() -> u64 {
    REPORTS.get()
}

/// Where one server listens.
pub(crate) struct Socket(TcpListener);

impl Socket {
    pub(crate) async fn bind(port: u16) -> io::Result<Self> {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .await
            .map(Self)
    }
}

impl Listen for Socket {
    type Stream = Wire;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, peer) = self.0.accept().await.expect("turmoil always accepts");
        let counts = false;
        (Wire { stream, counts }, peer)
    }
}

/// The way from one server to another.
pub(crate) fn connect(address: &Address) -> Connecting {
    let address = address.clone();
    Box::pin(async move {
        let stream = TcpStream::connect((address.host(), address.port())).await?;
        let counts = true;
        Ok(Box::new(Wire { stream, counts }) as Box<dyn peers::Wire>)
    })
}

/// A connection, which counts the reports that are sent over it where servers
/// push.
pub(crate) struct Wire {
    stream: TcpStream,
    counts: bool,
}

impl Stream for Wire {
    async fn first_byte(&mut self) -> Option<u8> {
        let mut first = [0];
        matches!(self.stream.peek(&mut first).await, Ok(1)).then_some(first[0])
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let (true, Poll::Ready(Ok(written))) = (self.counts, &written) {
            REPORTS.set(REPORTS.get() + marks(&bytes[..*written]));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Messages of gRPC hold texts as they are.
fn marks(bytes: &[u8]) -> u64 {
    let mark = CLIENT_MARK.as_bytes();
    let found = bytes.windows(mark.len()).filter(|part| *part == mark);
    found.count() as u64
}
