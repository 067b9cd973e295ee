//! Connections to a neighbour: TCP or TLS, and which certificate it must have.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::lock::lock;
use crate::model::address::Address;
use crate::net::ByteStream;
use crate::tls::{self, Credentials, PeerIdentity, ReloadEvents, Subject};

/// A connection being made.
pub(super) type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send>>;

/// A maker of connections to one neighbour.
pub(super) struct Dialer {
    target: Target,
    /// `None` without TLS.
    reloads: Option<ReloadEvents>,
}

/// The destination of connections.
#[derive(Clone)]
enum Target {
    Tcp(Address),
    Tls(TlsTarget),
}

/// A server that is reached by TLS.
#[derive(Clone)]
struct TlsTarget {
    address: Address,
    credentials: Arc<Credentials>,
    subject: Subject,
    /// End of validity of the certificates that it showed last.
    valid_until: Arc<Mutex<Option<SystemTime>>>,
}

impl Dialer {
    /// Dials by TCP, in plaintext.
    pub(super) fn tcp(address: &Address) -> Self {
        Self {
            target: Target::Tcp(address.clone()),
            reloads: None,
        }
    }

    /// Dials by TLS, to `subject` only. Each connection is made with what
    /// `credentials` hold at that moment.
    pub(super) fn tls(
        address: &Address,
        credentials: &Arc<Credentials>,
        subject: &Subject,
    ) -> Self {
        Self {
            target: Target::Tls(TlsTarget {
                address: address.clone(),
                credentials: credentials.clone(),
                subject: subject.clone(),
                valid_until: Arc::default(),
            }),
            reloads: Some(credentials.reload_events()),
        }
    }

    /// Returns the function that makes connections, as they are made now. A DNS name
    /// is resolved anew each time.
    pub(super) fn connector(&self) -> impl Fn() -> Connecting + Clone + Send + 'static {
        let target = self.target.clone();
        move || {
            let target = target.clone();
            Box::pin(async move {
                Ok(match target {
                    Target::Tcp(address) => Box::new(tcp_stream(&address).await?) as Box<_>,
                    Target::Tls(target) => Box::new(target.connect().await?) as Box<_>,
                })
            })
        }
    }

    /// Returns true if existing connections rest on what no longer holds: the own
    /// credentials were read again since the last call, or the certificate that the
    /// neighbour showed last has expired.
    pub(super) fn is_outdated(&mut self) -> bool {
        let is_reloaded = self.reloads.as_mut().is_some_and(ReloadEvents::is_new);
        let Target::Tls(target) = &mut self.target else {
            return false;
        };
        let is_outdated = is_reloaded || target.has_expired();
        if is_outdated {
            target.valid_until = Arc::default();
        }
        is_outdated
    }
}

impl TlsTarget {
    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = tls_stream(&self.address, &self.credentials, &self.subject).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        *self.valid_until() = tls::valid_until(chain);
        Ok(stream)
    }

    fn has_expired(&self) -> bool {
        self.valid_until()
            .is_some_and(|until| until <= SystemTime::now())
    }

    /// Held for one read or write.
    fn valid_until(&self) -> MutexGuard<'_, Option<SystemTime>> {
        lock(&self.valid_until)
    }
}

async fn tcp_stream(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address.to_string()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects by TLS to the server `subject`, which must show a certificate for that
/// name, whatever the host is called. A rejection by either side is an error that
/// names its cause.
pub async fn tls_stream(
    address: &Address,
    credentials: &Credentials,
    subject: &Subject,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = tcp_stream(address).await?;
    let config = credentials.client_config().ok_or_else(|| {
        io::Error::other("these credentials are for clients and cannot dial a server")
    })?;
    let name = tls::server_name(subject).map_err(io::Error::other)?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let mut stream = connected.map_err(|error| explain(&error))?;
    check_name(&stream, subject)?;
    // The server judges our certificate after the handshake. In HTTP/2 it sends
    // first, so its first byte shows that it accepted.
    match stream.fill_buf().await.map_err(|error| explain(&error))? {
        [] => Err(io::Error::other(
            "it closed the connection after the TLS handshake",
        )),
        _ => Ok(stream),
    }
}

/// Chain and name were verified by rustls, which accepts wildcards. A wildcard is no
/// server's name.
fn check_name(stream: &TlsStream<TcpStream>, subject: &Subject) -> io::Result<()> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let holder = chain.first().map(PeerIdentity::of).unwrap_or_default();
    if holder.is(subject) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "its certificate is for {holder}, not for {subject}"
    )))
}

fn explain(error: &io::Error) -> io::Error {
    let broken =
        || format!("the connection broke in the TLS handshake: {error}; does it speak TLS?");
    io::Error::other(tls::handshake_error(error).map_or_else(broken, |error| error.message))
}
