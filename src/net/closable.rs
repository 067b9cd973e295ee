//! A byte stream that this side can close at any time.
//!
//! tonic owns the connections that it makes and serves, and closes them only when
//! they are idle. A stream that fails ends its connection and all calls on it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ByteStream;

/// Resolves with the reason when a stream must close.
type Closing = Pin<Box<dyn Future<Output = String> + Send>>;

/// Receives what happens to a stream.
pub trait StreamObserver: Unpin {
    /// Bytes arrived.
    fn received(&mut self) {}

    /// The other end closed the stream.
    fn closed(&mut self) {}

    /// A read or a write failed.
    fn failed(&mut self, _error: &io::Error) {}
}

/// A byte stream that works until a future resolves, and then fails with its reason.
pub struct Closable<O> {
    /// Dropped before the stream closes.
    observer: O,
    stream: Box<dyn ByteStream>,
    closing: Closing,
    reason: Option<String>,
}

impl<O: StreamObserver> Closable<O> {
    /// Wraps `stream`, which fails from the moment at which `closing` resolves. The
    /// observer receives that failure too.
    pub fn new(
        stream: Box<dyn ByteStream>,
        closing: impl Future<Output = String> + Send + 'static,
        observer: O,
    ) -> Self {
        Self {
            observer,
            stream,
            closing: Box::pin(closing),
            reason: None,
        }
    }

    /// Returns the observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// Fails if the stream must close; otherwise the task is woken when it must.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.reason.is_none()
            && let Poll::Ready(reason) = self.closing.as_mut().poll(context)
        {
            self.reason = Some(reason);
        }
        match &self.reason {
            None => Ok(()),
            Some(reason) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                reason.clone(),
            )),
        }
    }

    /// Shows a result to the observer, if it is a failure.
    fn observe<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            self.observer.failed(error);
        }
        result
    }

    /// A write that cannot make progress must not hold off the close.
    fn check_pending<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() {
            self.check(context)?;
        }
        written
    }
}

impl<O> fmt::Debug for Closable<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closable")
    }
}

impl<O: StreamObserver> AsyncRead for Closable<O> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match self.check(context) {
            Ok(()) => Pin::new(&mut self.stream).poll_read(context, buffer),
            Err(closing) => Poll::Ready(Err(closing)),
        };
        if matches!(read, Poll::Ready(Ok(()))) {
            if buffer.filled().len() > before {
                self.observer.received();
            } else if buffer.remaining() > 0 {
                self.observer.closed();
            }
        }
        self.observe(read)
    }
}

impl<O: StreamObserver> AsyncWrite for Closable<O> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        let written = self.check_pending(written, context);
        self.observe(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        let written = self.check_pending(written, context);
        self.observe(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.check_pending(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check_pending(closed, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::oneshot;

    use super::*;

    impl StreamObserver for () {}

    fn closable(stream: impl ByteStream + 'static) -> (Closable<()>, oneshot::Sender<String>) {
        let (close, closing) = oneshot::channel();
        let closing = async { closing.await.unwrap_or_default() };
        (Closable::new(Box::new(stream), closing, ()), close)
    }

    #[tokio::test]
    async fn a_read_and_a_write_that_wait_fail_with_the_reason_once_the_stream_closes() {
        let (near, _far) = duplex(1);
        let (mut stream, close) = closable(near);
        stream.write_all(b"x").await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { reader.read_u8().await.unwrap_err() });
        let writing = tokio::spawn(async move { writer.write_all(b"yz").await.unwrap_err() });
        close.send("enough".to_owned()).unwrap();
        for error in [reading.await.unwrap(), writing.await.unwrap()] {
            assert_eq!(error.to_string(), "enough");
        }
    }
}
