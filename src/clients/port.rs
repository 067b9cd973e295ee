//! The client ports of one server: they accept connections, up to the limit, and run a session
//! for each.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Level, warn};

use crate::gateway::Gateway;
use crate::log::{Log, LogThrottle, Transcript};
use crate::net::{
    AcceptLoop, AcceptedStream, Acceptor, EvictingLimit, HandshakePolicy, Slot, TlsGate,
};
use crate::places::Places;
use crate::tls::Credentials;

use super::addresses::AddressPermit;
use super::command_handler::CommandHandler;
use super::connection::ClientConnection;
use super::guard::ConnectionGuard;
use super::session::{Session, SessionEnd};

/// Interval between log messages about the limit on connections. Suppressed ones are counted.
const LIMIT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The text edge of one server, for all of its client ports. Its clones share limits and
/// addresses.
#[derive(Clone, Debug)]
pub struct ClientPort {
    handler: CommandHandler,
    log: Log,
    limit: EvictingLimit,
    rejections: Arc<LogThrottle>,
    guard: Arc<ConnectionGuard>,
    max_handshakes: usize,
}

impl ClientPort {
    /// Creates the edge in front of `gateway`, with at most `max_handshakes` handshakes at a time
    /// (TLS, and headers of proxies): a further one evicts another.
    pub fn new(gateway: Arc<Gateway>, places: Places, log: &Log, max_handshakes: usize) -> Self {
        let guard = ConnectionGuard::new(gateway.clone());
        let settings = gateway.settings();
        let evicted = gateway
            .counters()
            .client_connections_rejected
            .evicted
            .clone();
        Self {
            guard: Arc::new(guard),
            limit: EvictingLimit::new(
                settings.clients.max_connections,
                "connections of clients",
                evicted,
            ),
            handler: CommandHandler { gateway, places },
            log: log.clone(),
            rejections: Arc::new(LogThrottle::new(LIMIT_LOG_INTERVAL)),
            max_handshakes,
        }
    }

    /// Serves clients without TLS until the server drains. Returns when each client has the
    /// answers to everything that was read from it, or was disconnected.
    pub async fn serve(self, acceptor: Acceptor) {
        let connections = self.accept_loop(acceptor, None);
        self.serve_all(connections).await;
    }

    /// Serves clients with TLS, as [`serve`](Self::serve) does without.
    pub async fn serve_tls(self, acceptor: Acceptor, credentials: Arc<Credentials>) {
        let counters = &self.gateway().counters().client_connections_rejected;
        let (rejected, guard) = (counters.tls.clone(), self.guard.clone());
        let gate = move || TlsGate {
            credentials: Some(credentials.clone()),
            time_limit: guard.handshake_time(),
            plaintext_reply: b"",
            rejected: rejected.clone(),
        };
        let connections = self.accept_loop(acceptor, Some(Box::new(gate)));
        self.serve_all(connections).await;
    }

    fn accept_loop(
        &self,
        acceptor: Acceptor,
        gate: Option<Box<dyn Fn() -> TlsGate + Send>>,
    ) -> AcceptLoop<AddressPermit> {
        let (guard, proxies) = (self.guard.clone(), self.guard.clone());
        let counters = &self.gateway().counters().client_connections_rejected;
        AcceptLoop::new(acceptor, move |peer| guard.admit(peer)).with_handshake(HandshakePolicy {
            proxy_gate: Box::new(move |from| proxies.proxy_gate(from)),
            gate,
            max_handshakes: self.max_handshakes,
            evicted: counters.evicted.clone(),
            port: "client",
            log_level: Level::INFO,
        })
    }

    async fn serve_all(self, mut connections: AcceptLoop<AddressPermit>) {
        let sessions = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.gateway().shutdown().drain().cancelled() => break,
                accepted = connections.next() => accepted,
            };
            self.begin_session(accepted, &sessions);
            // One that was evicted closes before the next is accepted.
            yield_now().await;
        }
        drop(connections);
        sessions.close();
        sessions.wait().await;
    }

    /// Runs a session in a task of its own, one of `sessions`.
    fn begin_session(&self, accepted: AcceptedStream<AddressPermit>, sessions: &TaskTracker) {
        let AcceptedStream {
            stream,
            peer,
            permit,
            ..
        } = accepted;
        let Some(slot) = self.enter(peer.ip()) else {
            return;
        };
        let evicted = slot.evicted();
        let open = self.gateway().connect();
        let connection = ClientConnection::new(peer, slot, self.guard.clone(), permit, open);
        let connection = Arc::new(connection);
        let session = Session::new(
            stream,
            self.handler.clone(),
            Transcript::client(&self.log, peer),
            self.guard.addresses.rate_limiter(peer.ip()),
            connection.clone(),
        );
        let disconnect = self.gateway().shutdown().disconnect().clone();
        let run = async move {
            let end = tokio::select! {
                end = session.run() => end,
                () = disconnect.cancelled() => SessionEnd::Disconnected,
                () = evicted => SessionEnd::Evicted,
            };
            connection.log_end(&end, end.is_by_client());
            // The session has closed the connection: its place is free from now on.
            drop(connection);
        };
        sessions.spawn(run.in_current_span());
    }

    /// Returns the slot of one more connection. It may evict one that has sent nothing; if all
    /// have, there is none, which is counted and logged.
    fn enter(&self, from: IpAddr) -> Option<Slot> {
        let max_connections = self.gateway().settings().clients.max_connections;
        let slot = self.limit.try_enter(from, max_connections);
        if slot.is_none() {
            let counters = &self.gateway().counters().client_connections_rejected;
            counters.max_connections.add(1);
            if let Some(suppressed) = self.rejections.admit() {
                warn!(
                    "rejected a connection to the client port: {max_connections} are open, which \
                     is the limit; raise max_connections to admit more{suppressed}"
                );
            }
        }
        slot
    }

    fn gateway(&self) -> &Arc<Gateway> {
        &self.handler.gateway
    }
}
