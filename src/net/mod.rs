//! Listening sockets, the checks that a connection passes before it is served, and connections to
//! others.
//!
//! Each port of a server takes its connections from one [`AcceptLoop`], which accepts, checks
//! where a connection comes from, and performs the handshake. It hands on a [`ByteStream`], so
//! that an edge does not distinguish TCP from TLS. Connections to other servers begin at a
//! [`Dialer`].
//!
//! | file | contents |
//! |---|---|
//! | `accept_loop` | the way of a connection from the socket to its edge |
//! | `acceptor` | a TCP listener that survives errors |
//! | `access_check` | networks that may connect |
//! | `closable` | a byte stream that this side can close at any time |
//! | `address_book` | the order in which the addresses of a host are tried |
//! | `dialer` | connections to another server, by TCP or TLS |
//! | `evicting_limit` | limit that evicts the oldest, fair between networks |
//! | `file_budget` | how the connections of all ports share the limit on open files |
//! | `handshakes` | connections that have not identified themselves yet |
//! | `proxy_header` | the PROXY protocol, in which a proxy names its client |
//! | `resolver` | the addresses of host names |
//! | `tcp_dialer` | connections to a host that may have several addresses |
//! | `tls_gate` | the server's side of a TLS handshake |
//! | `tls_session` | a TLS connection that ends as TLS requires |
//! | `turn` | the proof that a loop still turns |

mod accept_loop;
mod acceptor;
mod access_check;
mod address_book;
mod closable;
mod dialer;
mod evicting_limit;
mod file_budget;
mod handshakes;
mod proxy_header;
mod resolver;
mod tcp_dialer;
mod tls_gate;
mod tls_session;
mod turn;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

pub use accept_loop::{AcceptLoop, AcceptedStream, HandshakePolicy};
pub use acceptor::{Acceptor, BindError, bind};
pub use access_check::AccessCheck;
pub use closable::{Closable, StreamObserver};
pub use dialer::Dialer;
pub use evicting_limit::{EvictingLimit, Slot};
pub use file_budget::{FileBudget, FileNeeds, TooFewFiles};
pub use proxy_header::{ProxyGate, begins_proxy_header};
pub use resolver::Resolver;
pub use tcp_dialer::{AddressTrial, TcpDialer};
pub use tls_gate::TlsGate;
pub use tls_session::TlsSession;
pub use turn::TurnProbe;

/// Interval between log messages about a limit that is reached. Suppressed ones are counted.
const LIMIT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Time for which a connection is read after its own side was closed.
const LINGER_TIME: Duration = Duration::from_millis(200);

/// A connection, with or without TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Closes a connection so that the other end receives everything that was sent.
///
/// The system resets a connection that is closed while it holds unread bytes, and a reset
/// discards what is still on its way. This function therefore reads until the other end closes
/// its side, for at most 200 ms.
pub async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let closing = async {
        stream.shutdown().await?;
        while stream.read(&mut [0; 512]).await? > 0 {}
        io::Result::Ok(())
    };
    // The connection ends whether or not the other end closed its side.
    let _ = timeout(LINGER_TIME, closing).await;
}
