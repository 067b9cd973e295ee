//! Greetings and pushes of neighbours: judges them, merges them, and names the cause of
//! a rejection.

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;
use tracing::{debug, info, warn};

use crate::format;
use crate::gateway::Gateway;
use crate::line_protocol::reply;
use crate::log::{Log, LogThrottle, Transcript};
use crate::model::name::Name;
use crate::proto::{GreetRequest, GreetResponse, PushFrame, PushResponse};
use crate::replication::NeighbourId;
use crate::replication::messages::{GreetReply, Rejection};
use crate::replication::tag::TaggedReport;

use super::admission;
use super::incoming::OtherEnd;
use crate::wire::{self, PushError};

/// Interval between log messages about several processes of one name. Suppressed ones are counted.
const DUPLICATES_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The receiving side of replication, of one server.
#[derive(Debug)]
pub struct Inbound {
    gateway: Arc<Gateway>,
    log: Log,
    duplicates: LogThrottle,
}

impl Inbound {
    /// Makes the receiving side of one server. It rejects everything once the server
    /// shuts down.
    pub fn new(gateway: Arc<Gateway>, log: &Log) -> Self {
        Self {
            gateway,
            log: log.clone(),
            duplicates: LogThrottle::new(DUPLICATES_LOG_INTERVAL),
        }
    }

    /// The state of the server.
    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Answers a greeting. `other_end` is `None` outside a connection.
    ///
    /// # Errors
    ///
    /// The status of the rejection. Then nothing of the greeting counts.
    pub fn greet(
        &self,
        request: &GreetRequest,
        other_end: Option<&OtherEnd>,
    ) -> Result<GreetResponse, Status> {
        self.check_draining()?;
        let replica = self.gateway.replica();
        self.check_sender(other_end, &request.sender)?;
        let reply = replica
            .accept_greeting(&wire::greeting(request))
            .map_err(status)?;
        self.note_greeting(&reply, other_end);
        self.record_incoming(reply.neighbour, reply.greeter.get(), other_end);
        let now = self.gateway.clock().now();
        Ok(wire::greet_response(replica, reply, now))
    }

    /// Merges a push, in pieces, and returns its sender and the acknowledgement.
    /// `other_end` is `None` outside a connection. If the future is dropped, some
    /// reports may be merged, which does no harm, and none count as applied.
    ///
    /// # Errors
    ///
    /// The status of the rejection. Then nothing of the push applies.
    pub async fn push(
        &self,
        frame: &PushFrame,
        other_end: Option<&OtherEnd>,
    ) -> Result<(NeighbourId, PushResponse), Status> {
        self.check_draining()?;
        let replica = self.gateway.replica();
        let push = wire::read_push(frame).map_err(push_status)?;
        self.check_sender(other_end, push.header.sender)?;
        let pending = replica.begin_push(&push.header).map_err(status)?;
        let origins = replica.push_origins(&push.origins);
        let reports = push.tagged_reports(&origins).map_err(push_status)?;
        let neighbour = pending.neighbour;
        let name = replica.name_of(neighbour);
        self.note_connected(name, other_end);
        self.note_reports(name, &reports);
        self.record_incoming(neighbour, push.header.sender_incarnation, other_end);
        let traffic = self.gateway.links().traffic(neighbour);
        let merge = |chunk: &[TaggedReport<'_>], now| {
            let stats = replica.merge(&pending, chunk, now);
            traffic.record_received(stats);
            stats
        };
        self.gateway.merge_in_turns(&reports, merge).await;
        let answer = replica
            .finish_push(&pending, &push.vector)
            .map_err(status)?;
        traffic.counters.batches_received.add(1);
        let now = self.gateway.clock().now();
        Ok((neighbour, wire::push_response(answer, now)))
    }

    fn check_draining(&self) -> Result<(), Status> {
        if self.gateway.shutdown().has_begun() {
            return Err(shutting_down());
        }
        Ok(())
    }

    /// With TLS, the sender must be the holder of the certificate.
    fn check_sender(&self, other_end: Option<&OtherEnd>, sender: &str) -> Result<(), Status> {
        let herd = self.gateway.replica().herd();
        let checked = admission::check_sender(other_end, sender, herd);
        checked.inspect_err(|_| {
            self.gateway
                .counters()
                .peer_calls_rejected_by_certificate
                .add(1)
        })
    }

    fn note_greeting(&self, reply: &GreetReply, other_end: Option<&OtherEnd>) {
        let name = self.gateway.replica().name_of(reply.neighbour);
        if !self.note_connected(name, other_end) {
            debug!("{name} greets again");
        }
        if reply.is_new {
            // Our link must send it what this incarnation of it does not have.
            let links = self.gateway.links();
            links.notify_greeting(reply.neighbour, reply.greeter);
        }
    }

    fn record_incoming(
        &self,
        neighbour: NeighbourId,
        incarnation: u64,
        other_end: Option<&OtherEnd>,
    ) {
        let from = other_end.map(|other_end| other_end.address);
        let links = self.gateway.links();
        let Some(found) = links.record_incoming(neighbour, incarnation, from) else {
            return;
        };
        if let Some(suppressed) = self.duplicates.admit() {
            let name = self.gateway.replica().name_of(neighbour);
            let processes = match found.further {
                1 => "two".to_owned(),
                further => (further + 1).to_string(),
            };
            let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
            let addresses = format::list(&addresses, "and");
            warn!(
                "{processes} processes run as {name} and push from {addresses}: stop all except the \
                 one at the address in the config, or give each a server of its own{suppressed}"
            );
        }
    }

    /// Returns true if the connection is a new one of the neighbour.
    fn note_connected(&self, name: &Name, other_end: Option<&OtherEnd>) -> bool {
        let new = other_end.filter(|other_end| other_end.set_neighbour(name));
        if let Some(other_end) = new {
            info!("neighbour {name} connected from {}", other_end.address);
        }
        new.is_some()
    }

    fn note_reports(&self, sender: &Name, reports: &[TaggedReport<'_>]) {
        if !self.log.is_on() || reports.is_empty() {
            return;
        }
        let mut transcript = Transcript::neighbour(&self.log, sender.as_str());
        transcript.set_time(self.gateway.clock().now().0);
        let mut line = Vec::new();
        for TaggedReport { report, .. } in reports {
            line.clear();
            reply::at(&mut line, report);
            transcript.received(line.trim_ascii_end());
        }
        transcript.append_page();
    }
}

/// Returns the status of greetings and pushes while the server shuts down.
pub(super) fn shutting_down() -> Status {
    Status::unavailable("this server is shutting down: try again later")
}

/// Returns the status of a rejection, with its text.
fn status(rejection: Rejection) -> Status {
    let message = rejection.to_string();
    match rejection {
        Rejection::Malformed(_) => Status::invalid_argument(message),
        Rejection::IncompatibleVersion(_)
        | Rejection::WrongIncarnation
        | Rejection::NotGreeted
        | Rejection::Gap { .. } => Status::failed_precondition(message),
        Rejection::OtherHerd(_)
        | Rejection::WrongReceiver(_)
        | Rejection::OwnName
        | Rejection::UnknownServer(_)
        | Rejection::NotNeighbour(_) => Status::permission_denied(message),
    }
}

fn push_status(error: PushError) -> Status {
    let message = error.to_string();
    match error {
        PushError::TooMany(_) => Status::resource_exhausted(message),
        PushError::Malformed { .. } => Status::invalid_argument(message),
    }
}
