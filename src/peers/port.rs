//! The peer port: which services it offers, and its limits.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tower::Service;
use tracing::Instrument;

use crate::proto::DESCRIPTORS;
use crate::proto::propagate_server::PropagateServer;

use super::PeerSettings;
use super::calls::Calls;
use super::inbound::Inbound;
use super::incoming::Connection;
use super::served;
use super::wire::MAX_PUSH_BYTES;

/// The gRPC server of one peer port.
#[derive(Debug)]
pub struct Port {
    inbound: Arc<Inbound>,
    settings: PeerSettings,
    services: Routes,
    health: Health,
}

impl Port {
    /// A port that serves `inbound`.
    pub fn new(inbound: Inbound, settings: &PeerSettings) -> Self {
        let inbound = Arc::new(inbound);
        let propagate = PropagateServer::from_arc(inbound.clone())
            .max_decoding_message_size(MAX_PUSH_BYTES)
            .max_encoding_message_size(MAX_PUSH_BYTES);
        Self {
            inbound,
            settings: settings.clone(),
            services: Routes::new(propagate),
            health: Health {
                reporter: HealthReporter::new(),
                services: vec!["", "proxyherd.v1.Propagate"],
            },
        }
    }

    /// The same port, which serves another service too.
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

    /// Tells those who ask how the server is.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// How soon a connection must begin to speak.
    pub fn first_byte(&self) -> Duration {
        self.settings.attempt
    }

    /// Serves the connections of `incoming` until `stop`, and then until the
    /// calls under way are answered. Must run in the server's span.
    pub async fn serve(
        self,
        mut incoming: mpsc::Receiver<Connection>,
        stop: impl Future<Output = ()>,
    ) {
        let health = self.health.reporter;
        let health = tonic_health::server::HealthService::from_health_reporter(health);
        let health = tonic_health::pb::health_server::HealthServer::new(health);
        let (v1, v1alpha) = (reflection().build_v1(), reflection().build_v1alpha());
        let services = self
            .services
            .add_service(health)
            .add_service(v1.expect("our descriptors are whole"))
            .add_service(v1alpha.expect("our descriptors are whole"))
            .prepare();
        let limit = self.settings.attempt * 4;
        let calls = Calls::new(self.inbound, services, self.settings.max_pushes, limit);
        let (closing, closed) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                Some(connection) = incoming.recv() => {
                    let (calls, settings) = (calls.clone(), self.settings.clone());
                    let serve = served::serve(connection, calls, settings, closed.clone());
                    connections.spawn(serve.in_current_span());
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                () = &mut stop => break,
            }
        }
        closing.send_replace(true);
        while connections.join_next().await.is_some() {}
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
