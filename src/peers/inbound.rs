//! The `Propagate` service: takes greetings and pushes of neighbours, and turns
//! strangers away with words.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use tracing::{debug, info};

use crate::gateway::Gateway;
use crate::line_protocol::reply;
use crate::log::{Log, Transcript};
use crate::model::name::Name;
use crate::model::report::Report;
use crate::proto::propagate_server::Propagate;
use crate::proto::{GreetRequest, GreetResponse, PushFrame, PushResponse};
use crate::replication::replica::{GreetReply, Rejection};

use super::admission;
use super::incoming::OtherEnd;
use super::wire::{self, PushError};

/// How many reports are merged before other tasks get their turn: half a
/// millisecond's work, and enough to be merged well together.
const CHUNK: usize = 1024;

/// What neighbours call.
#[derive(Debug)]
pub struct Inbound {
    gateway: Arc<Gateway>,
    log: Log,
}

impl Inbound {
    /// The service of one server. Once the server's board is closed it takes
    /// nothing.
    pub fn new(gateway: Arc<Gateway>, log: &Log) -> Self {
        Self {
            gateway,
            log: log.clone(),
        }
    }

    /// The server behind it.
    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    fn take_greeting(&self, request: &Request<GreetRequest>) -> Result<GreetResponse, Status> {
        self.check_draining()?;
        let replica = self.gateway.replica();
        let other_end = request.extensions().get();
        self.check_sender(other_end, &request.get_ref().sender)?;
        let welcome = replica
            .accept_greeting(&wire::greeting(request.get_ref()))
            .map_err(status)?;
        self.note_welcome(&welcome, other_end);
        Ok(wire::greet_response(replica, &welcome))
    }

    /// Merges a push, in pieces. A call that is cancelled half-way has merged
    /// some reports, which does no harm, and counts none as applied.
    pub(super) async fn take_push(
        &self,
        frame: &PushFrame,
        other_end: Option<&OtherEnd>,
    ) -> Result<PushResponse, Status> {
        self.check_draining()?;
        let replica = self.gateway.replica();
        let push = wire::read_push(frame).map_err(push_status)?;
        self.check_sender(other_end, push.header.sender)?;
        let intake = replica.begin_push(&push.header).map_err(status)?;
        let reports = push.reports().map_err(push_status)?;
        let name = replica.name_of(intake.neighbour);
        self.note_connected(name, other_end);
        self.note_reports(name, &reports);
        let traffic = self.gateway.board().traffic(intake.neighbour);
        for chunk in reports.chunks(CHUNK) {
            let now = self.gateway.clock().now();
            let tally = replica.merge(&intake, chunk, now);
            traffic.received(tally);
            if tally.newer > 0 {
                self.gateway.board().notify_changes();
            }
            if chunk.len() == CHUNK {
                tokio::task::yield_now().await;
            }
        }
        let applied_sequence = replica.finish_push(&intake).map_err(status)?;
        traffic.batches_received.add(1);
        Ok(PushResponse { applied_sequence })
    }

    fn check_draining(&self) -> Result<(), Status> {
        match self.gateway.board().is_closing() {
            true => Err(Status::unavailable(
                "this server is shutting down: try again later",
            )),
            false => Ok(()),
        }
    }

    /// With TLS, a server speaks for itself only.
    fn check_sender(&self, other_end: Option<&OtherEnd>, sender: &str) -> Result<(), Status> {
        let herd = &self.gateway.replica().identity().herd;
        let checked = admission::check_sender(other_end, sender, herd);
        checked.inspect_err(|_| self.gateway.counts().refused_by_name().add(1))
    }

    fn note_welcome(&self, welcome: &GreetReply, other_end: Option<&OtherEnd>) {
        let name = self.gateway.replica().name_of(welcome.neighbour);
        if !self.note_connected(name, other_end) {
            debug!("{name} greets again");
        }
        if welcome.is_new {
            // What this incarnation of it does not have, our link must send it.
            let board = self.gateway.board();
            board.ring_greet(welcome.neighbour, welcome.greeter);
        }
    }

    /// Gives whether the connection is a new one of the neighbour.
    fn note_connected(&self, name: &Name, other_end: Option<&OtherEnd>) -> bool {
        let new = other_end.filter(|other_end| other_end.is_known_as(name));
        if let Some(other_end) = new {
            info!("neighbour {name} connected from {}", other_end.address);
        }
        new.is_some()
    }

    fn note_reports(&self, sender: &Name, reports: &[Report<'_>]) {
        if !self.log.is_on() || reports.is_empty() {
            return;
        }
        let mut transcript = Transcript::neighbour(&self.log, sender.as_str());
        transcript.at(self.gateway.clock().now().0);
        let mut line = Vec::new();
        for report in reports {
            line.clear();
            reply::at(&mut line, report);
            transcript.heard(line.trim_ascii_end());
        }
        transcript.hand_in();
    }
}

#[tonic::async_trait]
impl Propagate for Inbound {
    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Status> {
        self.take_greeting(&request).map(Response::new)
    }

    async fn push(&self, request: Request<PushFrame>) -> Result<Response<PushResponse>, Status> {
        let other_end = request.extensions().get();
        let taken = self.take_push(request.get_ref(), other_end).await;
        taken.map(Response::new)
    }
}

/// The status that goes with a refusal; its words are the refusal's.
fn status(refusal: Rejection) -> Status {
    let words = refusal.to_string();
    match refusal {
        Rejection::Malformed(_) => Status::invalid_argument(words),
        Rejection::IncompatibleVersion(_)
        | Rejection::WrongIncarnation
        | Rejection::NotGreeted
        | Rejection::Gap { .. } => Status::failed_precondition(words),
        Rejection::OtherHerd(_)
        | Rejection::WrongReceiver(_)
        | Rejection::OwnName
        | Rejection::UnknownServer(_)
        | Rejection::NotNeighbour(_) => Status::permission_denied(words),
    }
}

fn push_status(error: PushError) -> Status {
    let words = error.to_string();
    match error {
        PushError::TooMany(_) => Status::resource_exhausted(words),
        PushError::Malformed { .. } => Status::invalid_argument(words),
    }
}
