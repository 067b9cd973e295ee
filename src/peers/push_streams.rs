//! The `Propagate` service: greetings, and streams of pushes.
//!
//! A push stream answers its first push together with its head, so the limits of a call
//! ([`calls`](super::calls)) hold until that push is applied. Until then the caller may be
//! anybody. From then on it is the stream of a neighbour, and these hold:
//!
//! - A neighbour has one stream. A newer one replaces it.
//! - A push takes the place of a call from its arrival to its acknowledgement.
//! - The stream ends when the server shuts down, between two pushes.
//!
//! That each push arrives in time and acknowledgements are read is seen to below, in
//! [`bodies`](super::bodies).

use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, Span};

use crate::lock::lock;
use crate::proto::propagate_server::Propagate;
use crate::proto::{GreetRequest, GreetResponse, PushFrame, PushResponse};
use crate::replication::NeighbourId;

use super::call_limits::{CallLimits, CallPlace};
use super::inbound::{Inbound, shutting_down};
use super::incoming::OtherEnd;
use super::rejections::{PUSH, RejectionLog};

/// The service of one port. Clones are the same.
#[derive(Clone)]
pub(super) struct PushStreams(Arc<ServiceShared>);

struct ServiceShared {
    inbound: Arc<Inbound>,
    limits: Arc<CallLimits>,
    rejections: Arc<RejectionLog>,
    /// Ends the latest stream of each neighbour.
    latest: Mutex<HashMap<NeighbourId, CancellationToken>>,
    span: Span,
}

impl PushStreams {
    /// Makes the service of one server. Streams run in the current span.
    pub(super) fn new(
        inbound: Arc<Inbound>,
        limits: Arc<CallLimits>,
        rejections: Arc<RejectionLog>,
    ) -> Self {
        Self(Arc::new(ServiceShared {
            inbound,
            limits,
            rejections,
            latest: Mutex::default(),
            span: Span::current(),
        }))
    }
}

#[tonic::async_trait]
impl Propagate for PushStreams {
    type PushStream = Pin<Box<dyn Stream<Item = Result<PushResponse, Status>> + Send>>;

    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Status> {
        let response = self
            .0
            .inbound
            .greet(request.get_ref(), request.extensions().get());
        response.map(Response::new)
    }

    async fn push(
        &self,
        request: Request<Streaming<PushFrame>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let other_end = request.extensions().get::<OtherEnd>().cloned();
        let other_end = other_end.expect("the port adds it to each request");
        let mut frames = request.into_inner();
        let first = frames.message().await?;
        let first = first
            .ok_or_else(|| Status::invalid_argument("the stream ended before its first push"))?;
        let (neighbour, response) = self.0.inbound.push(&first, Some(&other_end)).await?;
        let stream = IncomingStream::begin(self.0.clone(), neighbour, frames, other_end);
        let rest = stream::try_unfold(stream, IncomingStream::step);
        let responses = stream::once(ready(Ok(response))).chain(rest);
        Ok(Response::new(Box::pin(responses)))
    }
}

/// The stream of a neighbour, between two pushes.
struct IncomingStream {
    shared: Arc<ServiceShared>,
    frames: Streaming<PushFrame>,
    other_end: OtherEnd,
    /// Resolves when the stream must end before its next push.
    end: Pin<Box<dyn Future<Output = Status> + Send>>,
}

impl IncomingStream {
    fn begin(
        shared: Arc<ServiceShared>,
        neighbour: NeighbourId,
        frames: Streaming<PushFrame>,
        other_end: OtherEnd,
    ) -> Self {
        let replaced = shared.replace(neighbour);
        let end = end(shared.clone(), replaced);
        Self {
            shared,
            frames,
            other_end,
            end: Box::pin(end),
        }
    }

    /// Applies the next push; `None` when the neighbour has ended the stream.
    fn step(self) -> impl Future<Output = Result<Option<(PushResponse, Self)>, Status>> + Send {
        let (shared, address) = (self.shared.clone(), self.other_end.address);
        let span = shared.span.clone();
        let step = async move {
            let stepped = self.next().await;
            stepped.inspect_err(|status| shared.rejections.log(PUSH, address, status))
        };
        step.instrument(span)
    }

    async fn next(mut self) -> Result<Option<(PushResponse, Self)>, Status> {
        let frame = tokio::select! {
            biased;
            frame = self.frames.message() => frame?,
            status = &mut self.end => return Err(status),
        };
        let Some(frame) = frame else { return Ok(None) };
        let response = {
            let _place = self.place()?;
            let pushed = self.shared.inbound.push(&frame, Some(&self.other_end));
            pushed.await?.1
        };
        Ok(Some((response, self)))
    }

    /// Returns the place of a push. A rejection is counted.
    fn place(&self) -> Result<CallPlace, Status> {
        let (shared, address) = (&self.shared, self.other_end.address);
        let place = shared.limits.neighbour();
        place.inspect_err(|status| shared.rejections.add(PUSH, address, status))
    }
}

impl ServiceShared {
    /// Makes a stream the latest one of a neighbour, and ends the one before. Returns
    /// the token that is cancelled when the stream must end in turn.
    fn replace(&self, neighbour: NeighbourId) -> CancellationToken {
        let token = CancellationToken::new();
        // Held for one write.
        let mut latest = lock(&self.latest);
        if let Some(before) = latest.insert(neighbour, token.clone()) {
            before.cancel();
        }
        token
    }
}

/// Resolves when a stream must end, with its status.
async fn end(shared: Arc<ServiceShared>, replaced: CancellationToken) -> Status {
    tokio::select! {
        biased;
        () = shared.inbound.gateway().shutdown().drain().cancelled() => shutting_down(),
        () = replaced.cancelled() => {
            Status::aborted("a newer push stream of this neighbour replaced this one")
        }
    }
}
