//! The peer port: a gRPC server with its services and limits.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;
use tower::Service;
use tower::layer::layer_fn;

use crate::net::Acceptor;
use crate::proto::DESCRIPTORS;
use crate::proto::propagate_server::PropagateServer;
use crate::tls::Credentials;

use super::PeerSettings;
use super::call_limits::CallLimits;
use super::calls::{CallRules, RuledServices};
use super::inbound::Inbound;
use super::incoming::connections;
use super::push_streams::PushStreams;
use super::rejections::RejectionLog;
use super::wire::MAX_PUSH_BYTES;

/// HTTP/2 window of a call, in bytes: two pushes fit.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// HTTP/2 window of a connection, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Maximum number of concurrent calls on one connection. A link has two at most.
const MAX_CALLS_PER_CONNECTION: u32 = 64;

/// Time limit of a call until its response begins, and of the silence on a push stream,
/// in times of [`PeerSettings::attempt`].
const CALL_ATTEMPTS: u32 = 4;

/// The gRPC server of one peer port.
#[derive(Debug)]
pub struct Port {
    inbound: Arc<Inbound>,
    limits: Arc<CallLimits>,
    rejections: Arc<RejectionLog>,
    settings: PeerSettings,
    services: Routes,
    health: PortHealth,
}

impl Port {
    /// Makes a port that serves `inbound`. Must be called in the server's span.
    pub fn new(inbound: Inbound, settings: &PeerSettings) -> Self {
        let inbound = Arc::new(inbound);
        let gateway = inbound.gateway();
        let limits = Arc::new(CallLimits::new(settings.max_pushes, gateway.clone()));
        let rejections = Arc::new(RejectionLog::new(gateway.clone()));
        let streams = PushStreams::new(
            inbound.clone(),
            limits.clone(),
            rejections.clone(),
            settings.attempt * CALL_ATTEMPTS,
        );
        let propagate = PropagateServer::new(streams)
            .max_decoding_message_size(MAX_PUSH_BYTES)
            .max_encoding_message_size(MAX_PUSH_BYTES);
        Self {
            inbound,
            limits,
            rejections,
            settings: settings.clone(),
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
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
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
        let connections = connections(acceptor, settings.attempt, credentials, &gateway, closed);
        let served = Server::builder()
            .max_concurrent_streams(MAX_CALLS_PER_CONNECTION)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(settings.keep_alive))
            .http2_keepalive_timeout(Some(settings.keep_alive_timeout))
            .layer(layer_fn(move |services| {
                RuledServices::new(services, rules.clone())
            }))
            .add_routes(services)
            .serve_with_incoming_shutdown(connections, stop);
        // It fails only if a connection cannot be made ready, which ours are.
        let _ = served.await;
    }
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
