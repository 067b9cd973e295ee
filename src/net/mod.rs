//! Listening sockets that go on listening, whatever happens.
//!
//! The edges take connections through [`Listen`] and [`Stream`], so that a whole
//! server also runs over a network that a test makes up. TCP is what the program
//! uses, through [`Acceptor`].
//!
//! | file | holds |
//! |---|---|
//! | `evicting_limit` | so many at a time, fair to all networks |
//! | `access_list` | turns away who comes from where none may |
//! | `handshakes` | connections that have not shown yet who they are: bounded |
//! | `tls_gate` | the server's side of TLS |

mod access_list;
mod evicting_limit;
mod handshakes;
mod tls_gate;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::log::LogThrottle;
use crate::model::address::Address;

pub use access_list::AccessList;
pub use evicting_limit::{EvictingLimit, Slot};
pub use handshakes::Handshakes;
pub use tls_gate::{HANDSHAKE, TlsGate, TlsListener, TlsServerStream};

/// How long an accept loop pauses when the system has nothing left to accept
/// with, such as file descriptors: long enough not to spin, short enough that
/// nobody notices once there are some again.
const PAUSE: Duration = Duration::from_millis(50);

/// Connections that may wait to be accepted: all clients of a server that was
/// away for a moment come back at once. The system may allow fewer.
const BACKLOG: u32 = 4096;

/// That a limit is reached is told once in this time, not for each connection.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// How long a connection that is closed is read on.
const LINGER: Duration = Duration::from_millis(200);

/// Where connections come from.
pub trait Listen: Send + 'static {
    /// What a connection is.
    type Stream: Stream;

    /// The next connection, and the address of its other end. Never fails.
    fn accept(&mut self) -> impl Future<Output = (Self::Stream, SocketAddr)> + Send;
}

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Waits for the first byte and leaves it to be read. There is none where the
    /// other end closed, or the connection broke, before.
    fn first_byte(&mut self) -> impl Future<Output = Option<u8>> + Send;
}

impl Stream for TcpStream {
    async fn first_byte(&mut self) -> Option<u8> {
        let mut first = [0];
        matches!(self.peek(&mut first).await, Ok(1)).then_some(first[0])
    }
}

/// Listens on an address; a name is resolved first. `send_buffer` is how many
/// bytes of what is sent the system keeps for each connection; without it, the
/// system decides.
pub async fn bind(address: &Address, send_buffer: Option<u32>) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for found in lookup_host(address.to_string()).await? {
        match listen(found, send_buffer) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen(address: SocketAddr, send_buffer: Option<u32>) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that restarts takes its port back at once.
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = send_buffer {
        // Connections inherit it.
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Closes a connection so that the other end gets all that was sent: a socket
/// that is closed while unread bytes wait in it takes back what is on its way.
/// Waits for the other end to close its side, 200 ms at most.
pub async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let closing = async {
        stream.shutdown().await?;
        while stream.read(&mut [0; 512]).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the other end went along makes no difference any more.
    let _ = timeout(LINGER, closing).await;
}

/// A limit on how many connections there are at a time, shared by its clones.
/// How many there may be is said each time, since it may change.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    taken: Arc<AtomicUsize>,
    what: &'static str,
    full: Arc<LogThrottle>,
}

/// A place for one connection, until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<AtomicUsize>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl ConnectionLimit {
    /// Nobody yet; `what` stands behind the number in the warning.
    pub fn new(what: &'static str) -> Self {
        Self {
            taken: Arc::default(),
            what,
            full: Arc::new(LogThrottle::new(TELL_PAUSE)),
        }
    }

    /// A place for one more connection, for as long as it is held; `None` where
    /// `most` or more are taken, which is told now and then.
    pub fn take(&self, most: usize) -> Option<ConnectionPermit> {
        let one_more = |taken| (taken < most).then_some(taken + 1);
        match self.taken.fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => Some(ConnectionPermit(self.taken.clone())),
            Err(_) => {
                self.tell(most);
                None
            }
        }
    }

    fn tell(&self, most: usize) {
        if self.full.admit().is_some() {
            let what = self.what;
            warn!("{most} {what}: further ones are closed until some leave");
        }
    }
}

/// A TCP listener, and whether it is out of resources.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    is_starved: bool,
    /// Was it told that it is? Trouble may come and go many times a second.
    is_told: bool,
    starved: LogThrottle,
}

impl Acceptor {
    /// Accepts from `listener`.
    pub fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            is_starved: false,
            is_told: false,
            starved: LogThrottle::new(TELL_PAUSE),
        }
    }

    /// Where it listens.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn note_starved(&mut self, error: &io::Error) {
        if self.is_starved {
            return;
        }
        self.is_starved = true;
        self.is_told = self.starved.admit().is_some();
        if self.is_told {
            warn!("can not accept connections for now: {error}");
        }
    }

    fn note_relief(&mut self) {
        if self.is_starved && self.is_told {
            info!("accepts connections again");
        }
        self.is_starved = false;
    }
}

impl Listen for Acceptor {
    type Stream = TcpStream;

    /// The next connection, without Nagle's delay. A connection that was gone
    /// before it was accepted is passed over, and where the system has nothing
    /// left it tries again after a pause, and says so once.
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.note_relief();
                    // Fails only on a connection that is gone; reading will tell.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.note_starved(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
