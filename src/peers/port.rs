//! The peer port: which services it offers, and its limits.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::server::HealthReporter;
use tower::Service;
use tower::layer::layer_fn;

use crate::proto::DESCRIPTORS;
use crate::proto::propagate_server::PropagateServer;

use super::Settings;
use super::admission::Admission;
use super::inbound::Inbound;
use super::places::Places;
use super::refusals::Noting;
use super::wire::MAX_PUSH_BYTES;

/// How many bytes of one call may be on their way unread: a whole batch, so
/// that it crosses in one go.
pub(super) const STREAM_WINDOW: u32 = 2 << 20;

/// The same for all calls of one connection.
pub(super) const CONNECTION_WINDOW: u32 = 4 << 20;

/// Calls that one connection may have under way. A link has one.
const STREAMS_PER_CONNECTION: u32 = 64;

/// The gRPC server of one peer port.
#[derive(Debug)]
pub struct Port {
    inbound: Inbound,
    settings: Settings,
    places: Places,
    beside: Routes,
    health: Health,
}

impl Port {
    /// A port that serves `inbound`.
    pub fn new(inbound: Inbound, settings: &Settings) -> Self {
        let gateway = inbound.gateway().clone();
        Self {
            inbound,
            settings: settings.clone(),
            places: Places::new(settings.max_pushes, gateway),
            beside: Routes::default(),
            health: Health {
                reporter: HealthReporter::new(),
                services: vec!["", "proxyherd.v1.Propagate"],
            },
        }
    }

    /// The same port, which serves another service too. Its calls take the
    /// places of calls as others do; what it refuses is nobody's news.
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
        let service = self.places.before(service);
        self.beside = self.beside.add_service(service);
        self.health.services.push(S::NAME);
        self
    }

    /// Tells those who ask how the server is.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// How soon a connection must begin to speak.
    pub fn first_byte(&self) -> Duration {
        self.settings.attempt
    }

    /// Serves the connections of `incoming` until `stop`, and then until the
    /// calls under way are answered.
    pub async fn serve<I, C>(
        self,
        incoming: I,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error>
    where
        I: Stream<Item = io::Result<C>>,
        C: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static,
    {
        let health =
            tonic_health::server::HealthService::from_health_reporter(self.health.reporter);
        let gateway = self.inbound.gateway().clone();
        let propagate = PropagateServer::new(self.inbound)
            .max_decoding_message_size(MAX_PUSH_BYTES)
            .max_encoding_message_size(MAX_PUSH_BYTES);
        let propagate = self.places.before(propagate);
        let admission = Admission::new(gateway.clone());
        Server::builder()
            .layer(layer_fn(move |services| admission.before(services)))
            // A caller that does not finish its request must not keep its place.
            .timeout(self.settings.attempt * 4)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(self.settings.keep_alive))
            .http2_keepalive_timeout(Some(self.settings.keep_alive_timeout))
            .add_routes(self.beside)
            .add_service(Noting::new(propagate, gateway))
            .add_service(tonic_health::pb::health_server::HealthServer::new(health))
            .add_service(reflection().build_v1().expect("our descriptors are whole"))
            .add_service(
                reflection()
                    .build_v1alpha()
                    .expect("our descriptors are whole"),
            )
            .serve_with_incoming_shutdown(incoming, stop)
            .await
    }
}

/// What `grpc.health.v1.Health` says, for the server as a whole (the empty
/// name) and for each of its services.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    services: Vec<&'static str>,
}

impl Health {
    /// The server takes calls, or does not take any more.
    pub async fn set(&self, is_serving: bool) {
        use tonic_health::ServingStatus::{NotServing, Serving};
        let status = if is_serving { Serving } else { NotServing };
        for service in &self.services {
            self.reporter.set_service_status(*service, status).await;
        }
    }
}

/// What reflection tells, in either version: all services of the port, itself
/// in both versions too.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .include_reflection_service(false)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
