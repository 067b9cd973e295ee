//! What every call to the peer port passes, one step after the other: may its
//! caller make it (`admission`), is there a place for it (`places`), then the
//! service itself, all within a time limit; and what was refused is counted and
//! told (`refusals`).
//!
//! A plain push does not go through tonic's service, which would read it alike: its
//! streams, boxes and routes take longer than the merge of a report.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use humantime::format_duration;
use hyper::body::Incoming;
use prost::Message;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use crate::proto::{PUSH, PushFrame};

use super::admission::Admission;
use super::inbound::Inbound;
use super::incoming::OtherEnd;
use super::places::CallLimits;
use super::refusals::{RejectionLog, name_of};
use super::unary;
use super::wire::MAX_PUSH_BYTES;

/// How paths of calls begin: those to services of this project,
const OURS: &str = "/proxyherd.v1.";

/// and of those, to the service that only servers may call.
const PROPAGATE: &str = "/proxyherd.v1.Propagate/";

/// Where a call says how its message is compressed.
const ENCODING: &str = "grpc-encoding";

/// The services of one port and the rules before them. Its clones are the same.
#[derive(Clone)]
pub(super) struct Calls(Arc<Inner>);

struct Inner {
    inbound: Arc<Inbound>,
    services: Routes,
    admission: Admission,
    places: CallLimits,
    refusals: RejectionLog,
    limit: Duration,
}

impl Calls {
    /// Those of one server: to `inbound`, and to all `services`, of which it is
    /// one. As many as `most` may be under way of
    /// neighbours, and of others; each may take up to `limit` until its answer
    /// begins, so that a caller that does not finish its request does not keep its
    /// place.
    pub(super) fn new(
        inbound: Arc<Inbound>,
        services: Routes,
        most: usize,
        limit: Duration,
    ) -> Self {
        let gateway = inbound.gateway().clone();
        Self(Arc::new(Inner {
            inbound,
            services,
            admission: Admission::new(gateway.clone()),
            places: CallLimits::new(most, gateway.clone()),
            refusals: RejectionLog::new(gateway),
            limit,
        }))
    }

    /// Answers a call that came from `other_end`. Must run in the server's span.
    pub(super) async fn answer(
        self,
        request: Request<Incoming>,
        other_end: OtherEnd,
    ) -> Response<Body> {
        let calls = &*self.0;
        let path = request.uri().path();
        let (what, is_propagate) = (name_of(path), path.starts_with(PROPAGATE));
        let note = |status: &Status| calls.refusals.note(what, other_end.address, status);
        if let Err(refusal) = calls.admission.check(is_propagate, &other_end) {
            note(&refusal);
            return refusal.into_http();
        }
        let answer = timeout(calls.limit, calls.placed(request, &other_end)).await;
        let answer = answer.unwrap_or_else(|_| calls.too_slow().into_http());
        // Of an answer that is no refusal, the status comes behind it.
        if is_propagate && let Some(status) = Status::from_header_map(answer.headers()) {
            note(&status);
        }
        answer
    }
}

impl Inner {
    /// Calls of this project's services take places before their message is read,
    /// so that what has none holds no memory.
    async fn placed(&self, request: Request<Incoming>, other_end: &OtherEnd) -> Response<Body> {
        if !request.uri().path().starts_with(OURS) {
            return self.served(request, other_end).await;
        }
        let call = self.served(request, other_end);
        let answer = self.places.make(call, other_end).await;
        answer.unwrap_or_else(Status::into_http)
    }

    async fn served(&self, mut request: Request<Incoming>, other_end: &OtherEnd) -> Response<Body> {
        let is_plain = !request.headers().contains_key(ENCODING);
        if is_plain && request.uri().path() == PUSH {
            let pushed = self.push(request.into_body(), other_end).await;
            return pushed.unwrap_or_else(Status::into_http);
        }
        request.extensions_mut().insert(other_end.clone());
        match self.services.clone().call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    async fn push(&self, body: Incoming, other_end: &OtherEnd) -> Result<Response<Body>, Status> {
        let (message, _) = unary::read(body, MAX_PUSH_BYTES).await?;
        let message =
            message.ok_or_else(|| Status::invalid_argument("a call without a message"))?;
        let answer = self
            .inbound
            .take_push(&PushFrame(message), Some(other_end))
            .await?;
        Ok(unary::answer(&answer.encode_to_vec()))
    }

    fn too_slow(&self) -> Status {
        let limit = format_duration(self.limit);
        Status::deadline_exceeded(format!(
            "the call was not whole and answered within {limit}"
        ))
    }
}
