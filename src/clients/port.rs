//! The client ports of one server: they accept connections, up to the limit, and run a session
//! for each.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::{Instrument, Level, info};

use crate::gateway::Gateway;
use crate::log::{Log, Transcript};
use crate::net::{AcceptLoop, AcceptedStream, Acceptor, ConnectionLimit, HandshakePolicy, TlsGate};
use crate::places::Places;
use crate::tls::Credentials;

use super::addresses::AddressPermit;
use super::command_handler::CommandHandler;
use super::guard::ConnectionGuard;
use super::session::{Session, SessionEnd};

/// Time limit of a TLS handshake with a client, unless its idle limit is shorter.
const MAX_HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// The text edge of one server, for all of its client ports. Its clones share limits and
/// addresses.
#[derive(Clone, Debug)]
pub struct ClientPort {
    handler: CommandHandler,
    log: Log,
    limit: ConnectionLimit,
    guard: Arc<ConnectionGuard>,
    max_handshakes: usize,
}

impl ClientPort {
    /// Creates the edge in front of `gateway`, with at most `max_handshakes` TLS handshakes at a
    /// time: a further one evicts another.
    pub fn new(gateway: Arc<Gateway>, places: Places, log: &Log, max_handshakes: usize) -> Self {
        let guard = ConnectionGuard::new(gateway.clone());
        let remedy = "raise max_connections to admit more";
        Self {
            guard: Arc::new(guard),
            handler: CommandHandler { gateway, places },
            log: log.clone(),
            limit: ConnectionLimit::new("client", remedy),
            max_handshakes,
        }
    }

    /// Serves clients without TLS until the server drains. Returns when each client has the
    /// answers to everything that was read from it, or was disconnected.
    pub async fn serve(self, acceptor: Acceptor) {
        let connections = self.accept_loop(acceptor);
        self.serve_all(connections).await;
    }

    /// Serves clients with TLS, as [`serve`](Self::serve) does without.
    pub async fn serve_tls(self, acceptor: Acceptor, credentials: Arc<Credentials>) {
        let gateway = self.gateway().clone();
        let rejected = gateway.counters().client_connections_rejected.tls.clone();
        let gate = move || TlsGate {
            credentials: Some(credentials.clone()),
            time_limit: gateway.settings().clients.idle.min(MAX_HANDSHAKE_TIME),
            plaintext_reply: b"",
            rejected: rejected.clone(),
        };
        let connections = self.accept_loop(acceptor).with_handshake(HandshakePolicy {
            gate: Box::new(gate),
            max_handshakes: self.max_handshakes,
            port: "client",
            log_level: Level::INFO,
        });
        self.serve_all(connections).await;
    }

    fn accept_loop(&self, acceptor: Acceptor) -> AcceptLoop<AddressPermit> {
        let guard = self.guard.clone();
        AcceptLoop::new(acceptor, move |peer| guard.admit(peer))
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
            permit: address_permit,
            ..
        } = accepted;
        let max_connections = self.gateway().settings().clients.max_connections;
        let Some(permit) = self.limit.acquire(max_connections) else {
            self.gateway()
                .counters()
                .client_connections_rejected
                .max_connections
                .add(1);
            return;
        };
        let connected = self.gateway().connect();
        info!("client {peer} connected");
        let session = Session::new(
            stream,
            self.handler.clone(),
            Transcript::client(&self.log, peer),
            self.guard.addresses.rate_limiter(peer.ip()),
        );
        let disconnect = self.gateway().shutdown().disconnect().clone();
        let run = async move {
            let end = disconnect.run_until_cancelled_owned(session.run()).await;
            let end = end.unwrap_or(SessionEnd::Disconnected);
            info!("client {peer} disconnected: {end}");
            // The session has closed the connection: its place is free from now on.
            drop((address_permit, permit, connected));
        };
        sessions.spawn(run.in_current_span());
    }

    fn gateway(&self) -> &Arc<Gateway> {
        &self.handler.gateway
    }
}
