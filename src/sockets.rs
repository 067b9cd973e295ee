//! Listening sockets that go on listening, whatever happens.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use crate::model::address::Address;

/// How long an accept loop pauses when the system has nothing left to accept
/// with, such as file descriptors: long enough not to spin, short enough that
/// nobody notices once there are some again.
const PAUSE: Duration = Duration::from_millis(50);

/// Listens on an address; a name is resolved first.
pub async fn bind(address: &Address) -> io::Result<TcpListener> {
    TcpListener::bind(address.to_string()).await
}

/// A listener, and whether it is out of resources.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    is_starved: bool,
}

impl Acceptor {
    /// Accepts from `listener`.
    pub fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            is_starved: false,
        }
    }

    /// The next connection, without Nagle's delay. Never fails: a connection
    /// that was gone before it was accepted is passed over, and where the
    /// system has nothing left it tries again after a pause, and says so once.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
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

    fn note_starved(&mut self, error: &io::Error) {
        if !self.is_starved {
            warn!("can not accept connections for now: {error}");
        }
        self.is_starved = true;
    }

    fn note_relief(&mut self) {
        if self.is_starved {
            info!("accepts connections again");
        }
        self.is_starved = false;
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
