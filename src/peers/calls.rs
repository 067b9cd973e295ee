//! The rules that every call to the peer port passes: the caller's certificate
//! (`admission`), the limits on concurrent calls (`call_limits`), limits on the request
//! and on an answer that is not read (`bodies`), and the log of rejections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::{Request, Response};
use humantime::format_duration;
use hyper::body::Body as HttpBody;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;
use tracing::{Instrument, Span, info};

use crate::gateway::Gateway;
use crate::log::LogThrottle;

use super::admission::Admission;
use super::bodies::{AnswerBody, RequestBody, incomplete};
use super::call_limits::{CallLimits, evicted};
use super::call_tasks::reset_once;
use super::incoming::OtherEnd;
use super::methods::{Method, MethodGroup};
use super::rejections::{RejectionLog, name_of};

/// Time limit of reading a piece of an answer, in time limits of a call.
const READ_TIME_FACTOR: u32 = 4;

/// Minimum time between two lines about answers that were not read.
const UNREAD_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The rules of one port.
pub(super) struct CallRules {
    admission: Admission,
    limits: Arc<CallLimits>,
    rejections: Arc<RejectionLog>,
    time_limit: Duration,
    /// Calls that did not read their answer.
    unread: LogThrottle,
    span: Span,
}

impl CallRules {
    /// Makes the rules of one server. A message of a request may take up to `time_limit`
    /// to arrive, so that a caller that does not finish it does not keep its place; a
    /// call as long until its response begins; and a caller four times as long to read a
    /// frame of it, or the call is reset. Calls run in the current span.
    pub(super) fn new(
        gateway: Arc<Gateway>,
        limits: Arc<CallLimits>,
        rejections: Arc<RejectionLog>,
        time_limit: Duration,
    ) -> Self {
        Self {
            admission: Admission::new(gateway),
            limits,
            rejections,
            time_limit,
            unread: LogThrottle::new(UNREAD_LOG_INTERVAL),
            span: Span::current(),
        }
    }

    /// Answers a request of `other_end`, which gets the place of the call in its task
    /// ([`CallExecutor`](super::call_tasks::CallExecutor)).
    pub(super) fn respond(
        self: Arc<Self>,
        services: Routes,
        request: Request<Body>,
        other_end: OtherEnd,
    ) -> impl Future<Output = Response<Body>> + Send {
        let span = self.span.clone();
        self.respond_within(services, request, other_end)
            .instrument(span)
    }

    async fn respond_within(
        self: Arc<Self>,
        services: Routes,
        mut request: Request<Body>,
        other_end: OtherEnd,
    ) -> Response<Body> {
        request.extensions_mut().insert(other_end.clone());
        let path = request.uri().path();
        let (what, method) = (name_of(path), Method::of(path));
        let is_propagate = method.group == MethodGroup::Propagate;
        if let Err(rejection) = self.admission.check(method.is_for_servers, &other_end) {
            self.rejections.log(what, other_end.address, &rejection);
            return rejection.into_http();
        }
        match self.call(services, request, method, &other_end).await {
            // A response that is not a rejection has its status at its end.
            Ok(response) => {
                if is_propagate && let Some(status) = Status::from_header_map(response.headers()) {
                    self.rejections.log(what, other_end.address, &status);
                }
                response
            }
            Err(rejection) => {
                // A caller that was too slow has most likely hung up.
                if is_propagate && rejection.code() == Code::Unavailable {
                    self.rejections.add(what, other_end.address, &rejection);
                }
                rejection.into_http()
            }
        }
    }

    /// Makes a call within the limits.
    ///
    /// # Errors
    ///
    /// The status of the limit that the call exceeded.
    async fn call(
        self: &Arc<Self>,
        services: Routes,
        request: Request<Body>,
        method: Method,
        other_end: &OtherEnd,
    ) -> Result<Response<Body>, Status> {
        // A call takes its place before its message is read, so that one without a
        // place holds no memory.
        let place = self.limits.enter(method.group, other_end)?;
        let (response, budget) = tokio::select! {
            biased;
            answered = self.answer(services, request, method, other_end) => answered?,
            () = evicted(Some(&place)) => return Err(self.limits.lost_place()),
        };
        if response.body().is_end_stream() {
            return Ok(response);
        }
        let place = method.counts_until_read.then_some(place);
        let evicted = evicted(place.as_ref());
        let (head, body) = response.into_parts();
        let body = AnswerBody::new(body, (place, budget));
        let unread = body.unread();
        let (rules, address) = (self.clone(), other_end.address);
        reset_once(async move {
            tokio::select! {
                () = unread.stays(rules.time_limit * READ_TIME_FACTOR) => rules.log_unread(address),
                () = evicted => {}
            }
        });
        Ok(Response::from_parts(head, Body::new(body)))
    }

    fn log_unread(&self, from: SocketAddr) {
        let limit = format_duration(self.time_limit * READ_TIME_FACTOR);
        if let Some(suppressed) = self.unread.admit() {
            let log = || {
                info!(
                    "reset a call from {from}: it did not read its answer for {limit}{suppressed}"
                )
            };
            self.span.in_scope(log);
        }
    }

    /// Answers a call within the limits on its request, and reserves the bytes of the
    /// answer.
    async fn answer(
        &self,
        mut services: Routes,
        request: Request<Body>,
        method: Method,
        other_end: &OtherEnd,
    ) -> Result<(Response<Body>, Option<OwnedSemaphorePermit>), Status> {
        let limit = self.time_limit;
        let reserved = timeout(limit / 4, other_end.reserve(method.answer_bytes)).await;
        let budget = reserved.map_err(|_| unread())?;
        let waits = Arc::new(AtomicBool::new(false));
        let limited = |body| RequestBody::new(body, method.max_message_bytes, limit, waits.clone());
        let request = request.map(|body| Body::new(limited(body)));
        match timeout(limit, services.call(request)).await {
            // Routes have no error.
            Ok(Ok(response)) => Ok((response, budget)),
            Err(_) if waits.load(Relaxed) => Err(incomplete(limit)),
            Err(_) => Err(too_slow(limit)),
        }
    }
}

fn too_slow(limit: Duration) -> Status {
    let limit = format_duration(limit);
    Status::deadline_exceeded(format!("the call was not answered within {limit}"))
}

fn unread() -> Status {
    Status::unavailable(
        "answers that were not read use up what this connection may hold: read them first",
    )
}
