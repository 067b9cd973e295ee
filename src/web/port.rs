//! The web port of one server.

use std::convert::Infallible;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::Instrument;

use crate::gateway::StatusSource;
use crate::net::{AcceptLoop, AcceptedStream, Acceptor, AccessCheck, EvictingLimit, Slot};

use super::page::page;

/// Maximum time of a connection, from being accepted to its response being read. Prometheus gives
/// up after ten seconds by default.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Maximum size of a request's head: the minimum that the library supports.
const MAX_HEAD_BYTES: usize = 8 * 1024;

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// The web port of one server.
#[derive(Clone, Debug)]
pub struct WebServer {
    source: StatusSource,
}

impl WebServer {
    /// Creates the port, which reads the state of the server from `source`.
    pub fn new(source: StatusSource) -> Self {
        Self { source }
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut rejection = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "this port is read-only: use GET or HEAD",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            rejection.headers_mut().insert(ALLOW, allowed);
            return rejection;
        }
        match request.uri().path() {
            "/metrics" => self.metrics().await,
            "/healthz" => text(StatusCode::OK, "the server runs"),
            "/readyz" => self.readiness(),
            _ => text(
                StatusCode::NOT_FOUND,
                "not found: the paths are /metrics, /healthz and /readyz",
            ),
        }
    }

    async fn metrics(&self) -> Response<String> {
        let source = self.source.clone();
        match tokio::task::spawn_blocking(move || page(&source)).await {
            Ok(page) => response(StatusCode::OK, METRICS_TYPE, page),
            Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal error: the server's log has the cause",
            ),
        }
    }

    /// A server is ready until it shuts down: it listens before this port answers. Links that are
    /// down do not make it unready, since it still serves clients.
    fn readiness(&self) -> Response<String> {
        if self.source.gateway().shutdown().has_begun() {
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server shuts down and accepts no more clients",
            )
        } else {
            text(StatusCode::OK, "the server accepts clients")
        }
    }
}

/// Serves the connections of `acceptor` forever, up to `max_connections` at a time. A further one
/// takes the place of another, first of one that has sent no request: silent connections do not
/// keep a monitoring system out. Must run in the server's span.
pub async fn serve(web: WebServer, acceptor: Acceptor, max_connections: usize) -> Infallible {
    let gateway = web.source.gateway().clone();
    let evicted = gateway.counters().web_connections_rejected.evicted.clone();
    let limit = EvictingLimit::new(max_connections, "connections to the web port", evicted);
    let access = AccessCheck::new("web", "[web]");
    let mut connections = AcceptLoop::new(acceptor, move |peer| {
        if !access.admits(&gateway.settings().web.networks, peer) {
            gateway.counters().web_connections_rejected.network.add(1);
            return None;
        }
        Some(limit.enter(peer.ip()))
    });
    loop {
        let answer = answer_one(web.clone(), connections.next().await);
        tokio::spawn(answer.in_current_span());
        // One that was evicted closes before the next is accepted.
        yield_now().await;
    }
}

/// Answers one request and closes the connection. Silent connections thus stay only for a while,
/// and one time limit covers slow writers and slow readers.
async fn answer_one(web: WebServer, accepted: AcceptedStream<Slot>) {
    let AcceptedStream {
        stream,
        permit: slot,
        ..
    } = accepted;
    let service = service_fn(|request: Request<Incoming>| {
        slot.identify();
        let web = &web;
        async move { Ok::<_, Infallible>(web.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // An error or a timeout has no one to be reported to: the connection is gone.
        _ = timeout(MAX_CONNECTION_TIME, connection) => {}
        () = slot.evicted() => {}
    }
}

fn text(status: StatusCode, text: &str) -> Response<String> {
    response(status, TEXT_TYPE, format!("{text}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
