//! The receiving side of a server, without a network.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use proxyherd::gateway::{self, Clock, Gateway};
use proxyherd::log::Log;
use proxyherd::model::name::Name;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::peers::Inbound;
use proxyherd::proto::{GreetRequest, GreetResponse, PushFrame};
use proxyherd::replication::Incarnation;
use proxyherd::replication::replica::{Replica, ServerIdentity};
use proxyherd::replication::store::Store;
use tonic::Status;

pub(super) const HERD: &str = "test";
pub(super) const RILEY: &str = "Riley";
pub(super) const RILEYS_INCARNATION: u64 = 7;
/// Riley's neighbour.
pub(super) const JAQUEZ: &str = "Jaquez";
pub(super) const JAQUEZ_INCARNATION: u64 = 11;
/// A server of the herd that is not a neighbour of Riley.
pub(super) const BERNARD: &str = "Bernard";

/// The server under test, Riley.
pub(super) struct Server {
    gateway: Arc<Gateway>,
    inbound: Inbound,
}

impl Server {
    pub(super) fn new() -> Self {
        let name = |text| Name::parse(text).unwrap();
        let identity = ServerIdentity {
            herd: name(HERD),
            name: name(RILEY),
            incarnation: Incarnation::new(RILEYS_INCARNATION).unwrap(),
        };
        let members = [RILEY, JAQUEZ, BERNARD].map(name).to_vec();
        let neighbours = vec![name(JAQUEZ)];
        let replica = Replica::new(identity, members, neighbours, [1, 2, 3, 4]);
        let clock = Clock::new(|| UnixNanos(0));
        let gateway = Arc::new(Gateway::new(
            replica,
            clock,
            gateway::ServerSettings::default(),
        ));
        let inbound = Inbound::new(gateway.clone(), &Log::off());
        Self { gateway, inbound }
    }

    /// Returns a server that Jaquez has greeted.
    pub(super) fn greeted() -> Self {
        let server = Self::new();
        let greeting = GreetRequest {
            version_major: 2,
            herd: HERD.to_owned(),
            sender: JAQUEZ.to_owned(),
            sender_incarnation: JAQUEZ_INCARNATION,
            receiver: RILEY.to_owned(),
            ..GreetRequest::default()
        };
        server.greet(greeting).unwrap();
        server
    }

    pub(super) fn greet(&self, greeting: GreetRequest) -> Result<GreetResponse, Status> {
        self.inbound.greet(&greeting, None)
    }

    /// Returns the applied watermark.
    pub(super) fn push(&self, bytes: &[u8]) -> Result<u64, Status> {
        let frame = PushFrame(bytes.to_vec().into());
        let (_, response) = run(self.inbound.push(&frame, None))?;
        Ok(response.applied_sequence)
    }

    pub(super) fn store(&self) -> &Store {
        self.gateway.replica().store()
    }
}

/// Polls a future that never waits for an external event.
fn run<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(answer) = call.as_mut().poll(&mut context) {
            return answer;
        }
    }
    panic!("the future waits for an external event");
}
