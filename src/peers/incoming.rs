//! Connections to the peer port: their limits, their certificates, and what is known of
//! the other end of each.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use rustls::pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Level, Span, info, warn};

use crate::gateway::Gateway;
use crate::model::name::Name;
use crate::net::{
    AcceptLoop, AcceptedStream, Acceptor, Closable, EvictingLimit, FileBudget, HandshakePolicy,
    Slot, StreamObserver, TlsGate,
};
use crate::tls::{self, Credentials, PeerIdentity, PeerRole};

/// Maximum size of the long answers of one connection that are computed or not read yet,
/// in bytes: four of them.
const MAX_ANSWER_BYTES_PER_CONNECTION: usize = 16 << 20;

/// The reply to plaintext HTTP/2 on a port for TLS, in HTTP/2 (RFC 9113, section 6): an
/// empty SETTINGS, and a GOAWAY with INADEQUATE_SECURITY and a text.
const PLAINTEXT_REPLY: &[u8] = b"\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x1c\x07\0\0\0\0\0\
    \0\0\0\0\0\0\0\x0cthis port is for TLS";

/// Returns the connections of `acceptor` as soon as they send a first byte, and closes
/// those that do not within `time_limit`: in HTTP/2 the client sends first. With
/// `credentials`, only connections with a certificate of the same CA are accepted, and
/// stay for as long as they would be accepted again. All of them close when `port`
/// closes. Beyond the numbers in `files` a connection takes the place of an earlier one.
/// Rejected ones are counted with `gateway`. Must be polled in the server's span.
pub(super) fn connections(
    acceptor: Acceptor,
    time_limit: Duration,
    credentials: Option<Arc<Credentials>>,
    gateway: &Gateway,
    files: FileBudget,
    port: CancellationToken,
) -> impl Stream<Item = Connection> {
    let evicted = &gateway.counters().peer_connections_rejected.evicted;
    let slots = EvictingLimit::new(files.peers, "connections to the peer port", evicted.clone());
    let gate = TlsGate {
        credentials,
        time_limit,
        plaintext_reply: PLAINTEXT_REPLY,
        rejected: gateway.counters().peer_connections_rejected.tls.clone(),
    };
    let gate_of_each = gate.clone();
    let accepting = AcceptLoop::new(acceptor, |_| Some(())).with_handshake(HandshakePolicy {
        proxy_gate: Box::new(|_| None),
        gate: Some(Box::new(move || gate_of_each.clone())),
        max_handshakes: files.peer_handshakes,
        evicted: evicted.clone(),
        port: "peer",
        log_level: Level::WARN,
    });
    stream::unfold(accepting, move |mut accepting| {
        let (slots, gate, port) = (slots.clone(), gate.clone(), port.clone());
        async move {
            let accepted = accepting.next().await;
            let slot = slots.enter(accepted.peer.ip());
            Some((connection(accepted, slot, gate, port), accepting))
        }
    })
}

/// Resolves with the cause when a connection with these certificates may stay no longer.
async fn untrusted(
    gate: TlsGate,
    address: SocketAddr,
    chain: Vec<CertificateDer<'static>>,
) -> String {
    let Some(credentials) = gate.credentials else {
        return std::future::pending().await;
    };
    let error = tls::until_untrusted(credentials, chain, PeerRole::Caller).await;
    gate.rejected.of(error.kind).add(1);
    warn!("closed the connection from {address}: {error}");
    error.message
}

/// The usual end of a connection.
const CLOSED: &str = "it closed the connection";

/// The end of a connection whose server shuts down.
const CLOSED_HERE: &str = "this server closed it";

/// One connection.
pub(super) type Connection = Closable<ConnectionEnd>;

/// The end of a connection. Logs it with the reason, if a neighbour used the connection.
pub(super) struct ConnectionEnd {
    other_end: OtherEnd,
    span: Span,
}

/// The other end of a connection. Clones are of the same connection.
#[derive(Clone, Debug)]
pub struct OtherEnd {
    pub(super) address: SocketAddr,
    neighbour: Arc<OnceLock<Name>>,
    holder: Option<Arc<PeerIdentity>>,
    slot: Arc<Slot>,
    /// Bytes of answers that it may still hold.
    answers: Arc<Semaphore>,
    /// Why the connection ended, once it has.
    end: Arc<OnceLock<String>>,
}

impl OtherEnd {
    /// The neighbour that has greeted over this connection, if one has. A reload may
    /// have removed it since.
    pub(super) fn neighbour(&self) -> Option<&Name> {
        self.neighbour.get()
    }

    /// The subject of the certificate; `None` without TLS.
    pub(super) fn holder(&self) -> Option<&PeerIdentity> {
        self.holder.as_deref()
    }

    /// Waits until the answers of the connection may take `bytes` more, and takes them
    /// until the returned value is dropped.
    pub(super) async fn reserve(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        if bytes == 0 {
            return None;
        }
        // It fails only for a semaphore that was closed, and this one never is.
        self.answers.clone().acquire_many_owned(bytes).await.ok()
    }

    /// Notes that a neighbour uses this connection. Returns true if it is the first
    /// time.
    pub(super) fn set_neighbour(&self, name: &Name) -> bool {
        let is_first = self.neighbour.get().is_none() && self.neighbour.set(name.clone()).is_ok();
        if is_first {
            self.slot.identify();
        }
        is_first
    }

    /// Only the first reason counts.
    fn note_end(&self, reason: String) {
        let _ = self.end.set(reason);
    }
}

/// Makes a connection that closes when its slot is evicted, its certificates are no
/// longer trusted, or `port` closes.
fn connection(
    accepted: AcceptedStream<()>,
    slot: Slot,
    gate: TlsGate,
    port: CancellationToken,
) -> Connection {
    let (address, chain) = (accepted.peer, accepted.certificates);
    let holder = |chain: &Vec<_>| chain.first().map(PeerIdentity::of).unwrap_or_default();
    let holder = chain.as_ref().map(holder);
    let evicted = slot.evicted();
    let untrusted = untrusted(gate, address, chain.unwrap_or_default());
    let closing = async move {
        tokio::select! {
            () = evicted => "it gave way to a newer one".to_owned(),
            reason = untrusted => reason,
            () = port.cancelled() => CLOSED_HERE.to_owned(),
        }
    };
    let end = ConnectionEnd {
        other_end: OtherEnd {
            address,
            neighbour: Arc::default(),
            holder: holder.map(Arc::new),
            slot: Arc::new(slot),
            answers: Arc::new(Semaphore::new(MAX_ANSWER_BYTES_PER_CONNECTION)),
            end: Arc::default(),
        },
        span: Span::current(),
    };
    Closable::new(accepted.stream, closing.in_current_span(), end)
}

impl Connection {
    /// Returns what is known of the other end.
    pub(super) fn other_end(&self) -> &OtherEnd {
        &self.observer().other_end
    }
}

impl StreamObserver for ConnectionEnd {
    fn closed(&mut self) {
        self.other_end.note_end(CLOSED.to_owned());
    }

    fn failed(&mut self, error: &io::Error) {
        self.other_end.note_end(match error.kind() {
            // With TLS: a close without an alert.
            io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
            _ => tls::handshake_error(error).map_or_else(|| error.to_string(), |tls| tls.message),
        });
    }
}

impl Drop for ConnectionEnd {
    fn drop(&mut self) {
        // Calls that have not ended yet may hold it.
        self.other_end.slot.release();
        if let Some(name) = self.other_end.neighbour.get() {
            let address = self.other_end.address;
            let end = self.other_end.end.get();
            let end = end.map_or(CLOSED_HERE, String::as_str);
            let log = || info!("neighbour {name} from {address} is gone: {end}");
            self.span.in_scope(log);
        }
    }
}
