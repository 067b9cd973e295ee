//! The connections of the web port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::yield_now;
use tower::ServiceExt;
use tracing::{Instrument, Level};

use crate::gateway::{Gateway, StatusSource};
use crate::model::address::Address;
use crate::net::{
    AcceptLoop, AcceptedStream, Acceptor, AccessCheck, EvictingLimit, HandshakePolicy, Slot,
    TlsGate,
};
use crate::tls::Credentials;

use super::deadline::Deadline;
use super::herd_view::Dialling;
use super::routes::router;
use super::state::{Connection, WebState};

/// Maximum time of a connection, from being accepted to its response being read; a watch has a
/// limit of its own. Prometheus gives up after ten seconds by default.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Maximum size of a request's head: the minimum that the library supports.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Answer to a browser that speaks plaintext to a port with TLS.
const PLAINTEXT_REPLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    connection: close\r\n\r\nthis port uses TLS: write https:// in place of http://\n";

/// The web port of one server.
#[derive(Clone, Debug)]
pub struct WebServer {
    state: Arc<WebState>,
    router: Router,
}

impl WebServer {
    /// Creates the port, which reads the state of the server from `source`. `hosts` are its
    /// configured addresses, whose names callers may use.
    pub fn new(source: StatusSource, dialling: Dialling, hosts: Vec<Address>) -> Self {
        let state = Arc::new(WebState::new(source, dialling, hosts));
        let router = router(state.clone());
        Self { state, router }
    }

    fn gateway(&self) -> &Arc<Gateway> {
        self.state.gateway()
    }

    /// Answers one request and closes the connection. Silent connections thus stay only for a
    /// while, and one time limit covers slow writers and slow readers.
    async fn answer_one(self, accepted: AcceptedStream<Slot>) {
        let AcceptedStream {
            stream,
            permit: slot,
            peer,
            ..
        } = accepted;
        let deadline = Deadline::after(MAX_CONNECTION_TIME);
        let connection = Connection {
            from: peer.ip(),
            deadline: deadline.clone(),
        };
        let service = service_fn(|request: Request<Incoming>| {
            slot.identify();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(connection.clone());
            self.router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // An error or a timeout has no one to be reported to: the connection is gone.
            _ = connection => {}
            () = deadline.passed() => {}
            () = slot.evicted() => {}
        }
    }
}

/// Serves the connections of `acceptor` forever, with TLS if there are `credentials`, up to
/// `max_connections` at a time. A further one takes the place of another, first of one that has
/// sent no request: silent connections do not keep a monitoring system out. Must run in the
/// server's span.
pub async fn serve(
    web: WebServer,
    acceptor: Acceptor,
    credentials: Option<Arc<Credentials>>,
    max_connections: usize,
) -> Infallible {
    let mut connections = accept_loop(&web, acceptor, credentials, max_connections);
    loop {
        let answer = web.clone().answer_one(connections.next().await);
        tokio::spawn(answer.in_current_span());
        // One that was evicted closes before the next is accepted.
        yield_now().await;
    }
}

fn accept_loop(
    web: &WebServer,
    acceptor: Acceptor,
    credentials: Option<Arc<Credentials>>,
    max_connections: usize,
) -> AcceptLoop<Slot> {
    let gateway = web.gateway().clone();
    let counters = &gateway.counters().web_connections_rejected;
    let (rejected, evicted) = (counters.tls.clone(), counters.evicted.clone());
    let what = "connections to the web port";
    let limit = EvictingLimit::new(max_connections, what, evicted.clone());
    let access = AccessCheck::new("web", "[web]");
    let connections = AcceptLoop::new(acceptor, move |peer| {
        if !access.admits(&gateway.settings().web.networks, peer) {
            gateway.counters().web_connections_rejected.network.add(1);
            return None;
        }
        Some(limit.enter(peer.ip()))
    });
    let Some(credentials) = credentials else {
        return connections;
    };
    connections.with_handshake(HandshakePolicy {
        proxy_gate: Box::new(|_| None),
        gate: Some(Box::new(move || TlsGate {
            credentials: Some(credentials.clone()),
            time_limit: MAX_CONNECTION_TIME,
            plaintext_reply: PLAINTEXT_REPLY,
            rejected: rejected.clone(),
        })),
        max_handshakes: max_connections,
        evicted,
        port: "web",
        log_level: Level::INFO,
    })
}
