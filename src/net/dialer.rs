//! Connections to another server: TCP or TLS, and which certificate it must have.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::InvalidUri;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::{self, Credentials, PeerIdentity, PeerRole, ReloadEvents, Subject};

use super::closable::{Closable, StreamObserver};
use super::{AddressTrial, ByteStream, TcpDialer, TlsSession};

/// Makes connections to one server. Clones share what is known of its addresses.
#[derive(Clone, Debug)]
pub struct Dialer {
    tcp: TcpDialer,
    /// `None` without TLS.
    tls: Option<TlsTarget>,
}

/// A server that is reached by TLS.
#[derive(Clone, Debug)]
struct TlsTarget {
    credentials: Arc<Credentials>,
    subject: Subject,
}

/// Notes that an address works when its server has sent something.
struct FirstBytes(Option<AddressTrial>);

impl Dialer {
    /// Dials by TCP, in plaintext.
    pub fn tcp(tcp: TcpDialer) -> Self {
        Self { tcp, tls: None }
    }

    /// Dials by TLS. The server must show a certificate for `subject`, whatever the host is
    /// called. Each connection is made with what `credentials` hold at that moment, and ends
    /// when they would no longer accept it.
    pub fn tls(tcp: TcpDialer, credentials: &Arc<Credentials>, subject: &Subject) -> Self {
        let tls = TlsTarget {
            credentials: credentials.clone(),
            subject: subject.clone(),
        };
        let tls = Some(tls);
        Self { tcp, tls }
    }

    /// Returns the URI to which HTTP/2 requests over these connections are made.
    ///
    /// # Errors
    ///
    /// The address, or with TLS the subject, is not part of a valid URI.
    pub fn origin(&self) -> Result<Uri, InvalidUri> {
        match &self.tls {
            None => format!("http://{}", self.tcp.address().authority()).parse(),
            Some(target) => format!("https://{}", target.subject).parse(),
        }
    }

    /// Returns true if connections are made by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the reloads of the own credentials from this call on; `None` without TLS.
    pub fn reload_events(&self) -> Option<ReloadEvents> {
        let target = self.tls.as_ref()?;
        Some(target.credentials.reload_events())
    }

    /// Connects within `limit`, as [`TcpDialer::connect_with`] does. With TLS, the server has
    /// accepted the own certificate when this returns. The connection closes when `closing`
    /// resolves, with its reason.
    ///
    /// # Errors
    ///
    /// Names the causes, also that of a rejection by either side.
    pub async fn connect(
        &self,
        limit: Duration,
        closing: impl Future<Output = String> + Send + 'static,
    ) -> io::Result<Box<dyn ByteStream>> {
        let Some(target) = &self.tls else {
            let (stream, trial) = self.tcp.connect(limit).await?;
            return Ok(observed(Box::new(stream), closing, trial));
        };
        let handshake = |stream| target.handshake(stream);
        let (stream, trial) = self.tcp.connect_with(limit, handshake).await?;
        let untrusted = target.until_untrusted(&stream)?;
        let closing = async move {
            tokio::select! {
                reason = closing => reason,
                reason = untrusted => reason,
            }
        };
        Ok(observed(Box::new(TlsSession::new(stream)), closing, trial))
    }
}

fn observed(
    stream: Box<dyn ByteStream>,
    closing: impl Future<Output = String> + Send + 'static,
    trial: AddressTrial,
) -> Box<dyn ByteStream> {
    let observer = FirstBytes(Some(trial));
    Box::new(Closable::new(stream, closing, observer))
}

impl StreamObserver for FirstBytes {
    fn received(&mut self) {
        if let Some(trial) = self.0.take() {
            trial.succeed();
        }
    }
}

impl TlsTarget {
    /// Performs the handshake, and waits until the server has judged this side's certificate.
    async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.credentials.client_config().ok_or_else(|| {
            io::Error::other("these credentials are for clients and cannot dial a server")
        })?;
        let name = tls::server_name(&self.subject).map_err(io::Error::other)?;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        let mut stream = connected.map_err(|error| explain(&error))?;
        self.check_name(&stream)?;
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
    fn check_name(&self, stream: &TlsStream<TcpStream>) -> io::Result<()> {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let holder = chain.first().map(PeerIdentity::of).unwrap_or_default();
        if holder.is(&self.subject) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "its certificate is for {holder}, not for {}",
            self.subject
        )))
    }

    /// Returns a future that resolves with the cause when the connection may stay no longer.
    fn until_untrusted(
        &self,
        stream: &TlsStream<TcpStream>,
    ) -> io::Result<impl Future<Output = String> + Send + use<>> {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.to_vec();
        let name = tls::server_name(&self.subject).map_err(io::Error::other)?;
        let credentials = self.credentials.clone();
        Ok(async move {
            let role = PeerRole::Server(name);
            tls::until_untrusted(credentials, chain, role).await.message
        })
    }
}

fn explain(error: &io::Error) -> io::Error {
    let broken =
        || format!("the connection broke in the TLS handshake: {error}; does it speak TLS?");
    io::Error::other(tls::handshake_error(error).map_or_else(broken, |error| error.message))
}
