//! The web port of one server: takes connections, one request each, and
//! answers by path.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument;

use crate::gateway::Gateway;
use crate::log::Log;
use crate::net::{AccessList, ConnectionLimit, ConnectionPermit, Listen, Stream};
use crate::places::Places;

use super::WebSettings;
use super::page::Sources;

/// Most connections at a time. Those who scrape have one each.
const MAX_CONNECTIONS: usize = 16;

/// How long a connection may take, from being accepted to its answer being
/// read. Who scrapes gives up after ten seconds by default.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Longest head of a request, in bytes: the least that the library can be held
/// to.
const MAX_HEAD_BYTES: usize = 8 * 1024;

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const WORDS: &str = "text/plain; charset=utf-8";

/// The web port of one server.
#[derive(Clone, Debug)]
pub struct WebServer {
    sources: Arc<Sources>,
    gate: Arc<AccessList>,
}

impl WebServer {
    /// A port that tells of a server that starts now: of what it counts, of its
    /// own places and of its log. `most_connections` is how many clients it
    /// takes.
    pub fn new(
        gateway: Arc<Gateway>,
        places: Places,
        log: Log,
        most_connections: watch::Receiver<usize>,
        settings: &WebSettings,
    ) -> Self {
        let started = gateway.clock().now();
        let sources = Sources {
            gateway,
            places,
            log,
            most_connections,
            started,
        };
        Self {
            sources: Arc::new(sources),
            gate: Arc::new(AccessList::new("web", "[web]", &settings.networks)),
        }
    }

    /// From now on, `settings` say who may connect.
    pub fn change(&self, settings: &WebSettings) {
        self.gate.change(&settings.networks);
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = words(
                StatusCode::METHOD_NOT_ALLOWED,
                "everything here is read: use GET or HEAD",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(ALLOW, allowed);
            return refusal;
        }
        match request.uri().path() {
            "/metrics" => self.metrics().await,
            "/healthz" => words(StatusCode::OK, "the server runs"),
            "/readyz" => self.readiness(),
            _ => words(
                StatusCode::NOT_FOUND,
                "there is nothing here: ask for /metrics, /healthz or /readyz",
            ),
        }
    }

    async fn metrics(&self) -> Response<String> {
        let sources = self.sources.clone();
        match tokio::task::spawn_blocking(move || sources.page()).await {
            Ok(page) => response(StatusCode::OK, METRICS, page),
            Err(_) => words(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the page could not be put together: the server's log says why",
            ),
        }
    }

    /// A server is ready from when it listens, which is before this port
    /// answers, until it shuts down. That its links are down is no reason: it
    /// serves clients all the same.
    fn readiness(&self) -> Response<String> {
        match self.sources.gateway.board().is_closing() {
            false => words(StatusCode::OK, "the server takes clients"),
            true => words(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server shuts down and takes no more clients",
            ),
        }
    }
}

/// Serves `listener` for ever. Must run in the server's span.
pub async fn serve(web: WebServer, mut listener: impl Listen) -> Infallible {
    let limit = ConnectionLimit::new("connections stand at the web port");
    let counts = web.sources.gateway.counts();
    loop {
        let (stream, peer) = listener.accept().await;
        if !web.gate.admits(peer) {
            counts.web_denied().add(1);
        } else if let Some(place) = limit.take(MAX_CONNECTIONS) {
            let answer = answer_one(web.clone(), stream, place);
            tokio::spawn(answer.in_current_span());
        } else {
            counts.web_turned_away().add(1);
        }
    }
}

/// Answers one request, and closes: so nobody keeps a place by silence, and one
/// time limit bounds slow writers and slow readers alike.
async fn answer_one(web: WebServer, stream: impl Stream, _place: ConnectionPermit) {
    let service = service_fn(|request: Request<Incoming>| {
        let web = &web;
        async move { Ok::<_, Infallible>(web.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // However it ended, there is nobody left to tell.
    let _ = timeout(CONNECTION_TIME, connection).await;
}

fn words(status: StatusCode, words: &str) -> Response<String> {
    response(status, WORDS, format!("{words}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
