//! The server's side of a TLS handshake, within a time limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::tls::{self, Credentials, HandshakeError, HandshakeErrorCounters, HandshakeErrorKind};

use super::{ByteStream, TlsSession, close};

/// First byte of TLS: the type of a record that holds a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE_RECORD: u8 = 0x16;

/// Maximum number of bytes that TLS buffers while the other end does not read. The limit is low,
/// so that a client that reads slowly is seen to read.
const MAX_BUFFERED_BYTES: usize = 16 * 1024;

/// The handshake of a port at which the other end speaks first, with or without TLS.
#[derive(Clone, Debug)]
pub struct TlsGate {
    /// Certificates of the server and of those it trusts. Without them the port speaks plaintext,
    /// and a client that begins TLS is rejected.
    pub credentials: Option<Arc<Credentials>>,
    /// Time limit of the whole handshake, from the accepted connection on. Without TLS, time
    /// limit of the first byte.
    pub time_limit: Duration,
    /// Answer to a client that speaks plaintext at a port with TLS, in its protocol.
    pub plaintext_reply: &'static [u8],
    /// Counters of failed handshakes.
    pub rejected: Arc<HandshakeErrorCounters>,
}

/// A connection after its handshake, and the certificates that the other end presented: its own
/// first, and `None` without TLS.
pub(super) type OpenedStream = (Box<dyn ByteStream>, Option<Vec<CertificateDer<'static>>>);

impl TlsGate {
    /// Performs the handshake, and counts it if it fails.
    ///
    /// # Errors
    ///
    /// The cause, or `None` if the other end never sent a byte.
    pub(super) async fn open(
        &self,
        stream: TcpStream,
    ) -> Result<OpenedStream, Option<HandshakeError>> {
        let mut has_spoken = false;
        let handshake = timeout(self.time_limit, self.handshake(stream, &mut has_spoken));
        let (error, stream) = match handshake.await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(failed)) => failed,
            Err(_) if has_spoken => {
                let message = "it did not finish the TLS handshake in time";
                let error = HandshakeError::new(HandshakeErrorKind::Other, message);
                (Some(error), None)
            }
            Err(_) => (None, None),
        };
        if let Some(error) = &error {
            self.rejected.of(error.kind).add(1);
        }
        if let Some(stream) = stream {
            // Delivers the alert that tells the other end the cause.
            close(stream).await;
        }
        Err(error)
    }

    async fn handshake(
        &self,
        mut stream: TcpStream,
        has_spoken: &mut bool,
    ) -> Result<OpenedStream, (Option<HandshakeError>, Option<TcpStream>)> {
        let mut first = [0];
        // A connection that ends before its first byte is no failed handshake.
        let Ok(1) = stream.peek(&mut first).await else {
            return Err((None, None));
        };
        *has_spoken = true;
        let is_tls = first[0] == TLS_HANDSHAKE_RECORD;
        match &self.credentials {
            None if is_tls => {
                let message =
                    "it speaks TLS, which this port does not use; set [security] in the config";
                let error = HandshakeError::new(HandshakeErrorKind::Other, message);
                Err((Some(error), None))
            }
            None => Ok((Box::new(stream), None)),
            Some(_) if !is_tls => {
                // Best effort: the connection is rejected anyway.
                let _ = stream.write_all(self.plaintext_reply).await;
                let message = "it speaks plaintext, and this port is for TLS";
                let error = HandshakeError::new(HandshakeErrorKind::Plaintext, message);
                Err((Some(error), Some(stream)))
            }
            Some(credentials) => encrypt(credentials, stream).await,
        }
    }
}

async fn encrypt(
    credentials: &Credentials,
    stream: TcpStream,
) -> Result<OpenedStream, (Option<HandshakeError>, Option<TcpStream>)> {
    let acceptor = TlsAcceptor::from(credentials.server_config());
    let accepting =
        acceptor.accept_with(stream, |tls| tls.set_buffer_limit(Some(MAX_BUFFERED_BYTES)));
    let stream = accepting
        .into_fallible()
        .await
        .map_err(|(error, stream)| (Some(handshake_error(&error)), Some(stream)))?;
    let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = presented.iter().cloned().map(CertificateDer::into_owned);
    let chain = chain.collect();
    Ok((Box::new(TlsSession::new(stream)), Some(chain)))
}

fn handshake_error(error: &io::Error) -> HandshakeError {
    tls::handshake_error(error).unwrap_or_else(|| {
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "it closed the connection during the TLS handshake".to_owned()
            }
            _ => format!("the connection broke during the TLS handshake: {error}"),
        };
        HandshakeError::new(HandshakeErrorKind::Other, message)
    })
}
