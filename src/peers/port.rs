//! The peer port: a gRPC server with its services and limits.
//!
//! tonic's services run on hyper's HTTP/2 server, as in tonic's own `Server`. That is not used,
//! since it gives no access to the size of the send buffers and to the task of a call: with it, a
//! connection of 64 answers that nobody read held 255 MiB for as long as it stood, measured, and
//! only closing the whole connection could end one of them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tower::Service;
use tracing::Instrument;

use crate::net::{Acceptor, FileBudget};
use crate::proto::DESCRIPTORS;
use crate::proto::propagate_server::PropagateServer;
use crate::tls::Credentials;

use super::PeerSettings;
use super::call_limits::CallLimits;
use super::call_tasks::CallExecutor;
use super::calls::CallRules;
use super::inbound::Inbound;
use super::incoming::{Connection, connections};
use super::push_streams::PushStreams;
use super::rejections::RejectionLog;

/// HTTP/2 window of a call, in bytes: a push fits.
const STREAM_WINDOW_BYTES: u32 = (1 << 20) + 64 * 1024;

/// HTTP/2 window of a connection, in bytes: the maximum of requests that have arrived and
/// that no call has read.
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;

/// Bytes of an answer beyond which h2 takes no more until some are sent.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Maximum number of concurrent calls on one connection. A link has two at most.
const MAX_CALLS_PER_CONNECTION: u32 = 64;

/// Time limit of a message of a request, and of a call until its response begins, in times
/// of [`PeerSettings::attempt`].
const CALL_ATTEMPTS: u32 = 4;

/// The gRPC server of one peer port.
#[derive(Debug)]
pub struct Port {
    inbound: Arc<Inbound>,
    limits: Arc<CallLimits>,
    rejections: Arc<RejectionLog>,
    settings: PeerSettings,
    files: FileBudget,
    services: Routes,
    health: PortHealth,
}

impl Port {
    /// Makes a port that serves `inbound`, with the connections that `files` permits. Must be
    /// called in the server's span.
    pub fn new(inbound: Inbound, settings: &PeerSettings, files: FileBudget) -> Self {
        let inbound = Arc::new(inbound);
        let gateway = inbound.gateway();
        let limits = Arc::new(CallLimits::new(settings.max_pushes, gateway.clone()));
        let rejections = Arc::new(RejectionLog::new(gateway.clone()));
        let streams = PushStreams::new(inbound.clone(), limits.clone(), rejections.clone());
        let propagate = PropagateServer::new(streams);
        Self {
            inbound,
            limits,
            rejections,
            settings: settings.clone(),
            files,
            services: Routes::new(propagate),
            health: PortHealth {
                reporter: HealthReporter::new(),
                services: vec!["", "proxyherd.v1.Propagate"],
            },
        }
    }

    /// Adds a service.
    pub fn beside<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.services = self.services.add_service(service);
        self.health.services.push(S::NAME);
        self
    }

    /// Returns the health service's state, which its clones share.
    pub fn health(&self) -> PortHealth {
        self.health.clone()
    }

    /// Serves the connections of `acceptor` until `stop`, and then until the calls
    /// under way have ended. With `credentials`, by TLS. When the future ends or is
    /// dropped, all connections close. Must run in the server's span.
    pub async fn serve(
        self,
        acceptor: Acceptor,
        credentials: Option<Arc<Credentials>>,
        stop: impl Future<Output = ()>,
    ) {
        let health = self.health.reporter.clone();
        let health = tonic_health::server::HealthService::from_health_reporter(health);
        let health = tonic_health::pb::health_server::HealthServer::new(health);
        let (v1, v1alpha) = (reflection().build_v1(), reflection().build_v1alpha());
        let services = self
            .services
            .add_service(health)
            .add_service(v1.expect("our descriptors are whole"))
            .add_service(v1alpha.expect("our descriptors are whole"))
            .prepare();
        let settings = &self.settings;
        let gateway = self.inbound.gateway().clone();
        let rules = Arc::new(CallRules::new(
            gateway.clone(),
            self.limits,
            self.rejections,
            settings.attempt * CALL_ATTEMPTS,
        ));
        let closed = CancellationToken::new();
        let _close = closed.clone().drop_guard();
        let accepting = connections(
            acceptor,
            settings.attempt,
            credentials,
            &gateway,
            self.files,
            closed,
        );
        let mut accepting = pin!(accepting.take_until(stop));
        let http = http(settings);
        let (open, stopping) = (TaskTracker::new(), CancellationToken::new());
        while let Some(connection) = accepting.next().await {
            let calls = (services.clone(), rules.clone());
            let serving = serve_connection(http.clone(), connection, calls, stopping.clone());
            open.spawn(serving.in_current_span());
        }
        stopping.cancel();
        open.close();
        open.wait().await;
    }
}

/// Returns HTTP/2 with the limits of a port.
fn http(settings: &PeerSettings) -> http2::Builder<CallExecutor> {
    let mut http = http2::Builder::new(CallExecutor);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MAX_CALLS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(settings.keep_alive)
        .keep_alive_timeout(settings.keep_alive_timeout);
    http
}

/// Serves a connection until it closes. Once the port stops, it takes no further calls, and
/// closes after those under way.
async fn serve_connection(
    http: http2::Builder<CallExecutor>,
    connection: Connection,
    (services, rules): (Routes, Arc<CallRules>),
    stopping: CancellationToken,
) {
    let other_end = connection.other_end().clone();
    let service = service_fn(|request: Request<Incoming>| {
        let request = request.map(Body::new);
        let response = rules
            .clone()
            .respond(services.clone(), request, other_end.clone());
        async { Ok::<_, Infallible>(response.await) }
    });
    let mut served = pin!(http.serve_connection(TokioIo::new(connection), service));
    // How it ended is noted by the connection itself.
    tokio::select! {
        _ = served.as_mut() => return,
        () = stopping.cancelled() => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

/// The state that `grpc.health.v1.Health` shows, for the server as a whole (the empty
/// name) and for each of its services.
#[derive(Clone, Debug)]
pub struct PortHealth {
    reporter: HealthReporter,
    services: Vec<&'static str>,
}

impl PortHealth {
    /// Sets whether the server takes calls.
    pub async fn set(&self, is_serving: bool) {
        use tonic_health::ServingStatus::{NotServing, Serving};
        let status = if is_serving { Serving } else { NotServing };
        for service in &self.services {
            self.reporter.set_service_status(*service, status).await;
        }
    }
}

/// Returns the content of reflection, for either version: all services of the port,
/// reflection in both versions included.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .include_reflection_service(false)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
