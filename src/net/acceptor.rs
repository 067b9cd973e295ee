//! A TCP listener that survives errors.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::log::LogThrottle;
use crate::model::address::Address;

use super::LIMIT_LOG_INTERVAL;

/// Interval between attempts to accept while the system lacks a resource, such as file
/// descriptors. It is long enough to cost no CPU time and short enough to go unnoticed.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Number of connections that may wait to be accepted. All clients of a server that was away
/// for a moment return at once. The system may allow fewer.
const BACKLOG: u32 = 4096;

/// Opens a listening socket; a DNS name is resolved first. `send_buffer_bytes` is the size of
/// the send buffer of each connection; the system decides without it.
///
/// # Errors
///
/// The error of the last address tried, or of the name resolution.
pub async fn bind(address: &Address, send_buffer_bytes: Option<u32>) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for found in lookup_host(address.to_string()).await? {
        match listen(found, send_buffer_bytes) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen(address: SocketAddr, send_buffer_bytes: Option<u32>) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that restarts takes its port back at once.
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = send_buffer_bytes {
        // Connections inherit it.
        socket.set_send_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A TCP listener whose [`accept`](Self::accept) never fails.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    is_starved: bool,
    /// Whether the present shortage was logged. Shortages may come and go many times a second.
    is_logged: bool,
    starved: LogThrottle,
}

impl Acceptor {
    /// Accepts from `listener`.
    pub fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            is_starved: false,
            is_logged: false,
            starved: LogThrottle::new(LIMIT_LOG_INTERVAL),
        }
    }

    /// Returns the address of the listening socket.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::local_addr`].
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the next connection, without Nagle's delay, and the address of its other end.
    ///
    /// Skips connections that ended before they were accepted. While the system lacks a resource,
    /// retries every 50 ms and logs that once. Cancel safe.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.note_recovery();
                    // Fails only on a connection that has ended, which reading reports.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    self.note_shortage(&error);
                    sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    fn note_shortage(&mut self, error: &io::Error) {
        if self.is_starved {
            return;
        }
        self.is_starved = true;
        self.is_logged = self.starved.admit().is_some();
        if self.is_logged {
            warn!(
                "cannot accept connections: {error}; retrying; if open files ran out, raise their \
                 limit (ulimit -n) or lower max_connections"
            );
        }
    }

    fn note_recovery(&mut self) {
        if self.is_starved && self.is_logged {
            info!("accepts connections again");
        }
        self.is_starved = false;
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
