//! A TLS connection that ends as TLS requires (RFC 8446, section 6.1): with close_notify, whoever
//! ends it and why, so that the other end can tell an end from an attack that cuts it short.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio_rustls::TlsStream;

use crate::tls;

/// The message about an other end that closes TCP and not TLS. Usual for programs that exit.
const NO_CLOSE_NOTIFY: &str = "it closed the connection without close_notify of TLS";

/// A TLS connection. When it is dropped, it sends close_notify if the other end reads, and does not
/// wait. Its errors have messages for people, in which "it" is the other end.
pub struct TlsSession(TlsStream<TcpStream>);

impl TlsSession {
    /// Wraps a connection after its handshake.
    pub fn new(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self(stream.into())
    }
}

impl Drop for TlsSession {
    fn drop(&mut self) {
        let stream = &mut self.0;
        // Nothing is to be done about an end that does not read, or about one that has gone.
        let closing = poll_fn(|context| Pin::new(&mut *stream).poll_shutdown(context));
        let _ = pin!(unconstrained(closing)).poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsSession")
    }
}

/// Replaces the message of an error by one for people. Its kind stays.
fn with_message<T>(result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    result.map_err(|error| match tls::handshake_error(&error) {
        Some(of_tls) => io::Error::new(error.kind(), of_tls.message),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), NO_CLOSE_NOTIFY)
        }
        None => error,
    })
}

impl AsyncRead for TlsSession {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_message(Pin::new(&mut self.0).poll_read(context, buffer))
    }
}

impl AsyncWrite for TlsSession {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with_message(Pin::new(&mut self.0).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_message(Pin::new(&mut self.0).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_message(Pin::new(&mut self.0).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_message(Pin::new(&mut self.0).poll_shutdown(context))
    }
}
