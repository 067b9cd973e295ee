//! The tower layer that every call to the peer port passes: the caller's certificate
//! (`admission`), the limits on concurrent calls (`call_limits`), a time limit, and the
//! log of rejections.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use humantime::format_duration;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;
use tracing::{Instrument, Span};

use crate::gateway::Gateway;

use super::admission::Admission;
use super::call_limits::CallLimits;
use super::incoming::OtherEnd;
use super::rejections::{RejectionLog, name_of};

/// Prefix of the paths of calls to services of this project.
const OWN_SERVICES: &str = "/proxyherd.v1.";

/// Prefix of the paths of calls that only servers may make.
const PROPAGATE: &str = "/proxyherd.v1.Propagate/";

/// The rules of one port.
pub(super) struct CallRules {
    admission: Admission,
    limits: Arc<CallLimits>,
    rejections: Arc<RejectionLog>,
    time_limit: Duration,
    span: Span,
}

impl CallRules {
    /// Makes the rules of one server. A call may take up to `time_limit` until its
    /// response begins, so that a caller that does not finish its request does not keep
    /// its place. Calls run in the current span.
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
            span: Span::current(),
        }
    }

    async fn respond(&self, mut services: Routes, request: Request<Body>) -> Response<Body> {
        let other_end = request.extensions().get::<OtherEnd>().cloned();
        let other_end = other_end.expect("the port adds it to each request");
        let path = request.uri().path();
        let (what, is_propagate) = (name_of(path), path.starts_with(PROPAGATE));
        let is_own = path.starts_with(OWN_SERVICES);
        let log = |status: &Status| self.rejections.log(what, other_end.address, status);
        if let Err(rejection) = self.admission.check(is_propagate, &other_end) {
            log(&rejection);
            return rejection.into_http();
        }
        let call = async {
            // Routes have no error.
            let Ok(response) = services.call(request).await;
            response
        };
        // A call takes its place before its message is read, so that one without a
        // place holds no memory.
        let call = async {
            if !is_own {
                return call.await;
            }
            let response = self.limits.run(call, &other_end).await;
            response.unwrap_or_else(Status::into_http)
        };
        let response = timeout(self.time_limit, call).await;
        let response = response.unwrap_or_else(|_| self.too_slow().into_http());
        // A response that is not a rejection has its status at its end.
        if is_propagate && let Some(status) = Status::from_header_map(response.headers()) {
            log(&status);
        }
        response
    }

    fn too_slow(&self) -> Status {
        let limit = format_duration(self.time_limit);
        Status::deadline_exceeded(format!(
            "the request was not complete and answered within {limit}"
        ))
    }
}

/// The services of a port under its rules.
#[derive(Clone)]
pub(super) struct RuledServices {
    services: Routes,
    rules: Arc<CallRules>,
}

impl RuledServices {
    pub(super) fn new(services: Routes, rules: Arc<CallRules>) -> Self {
        Self { services, rules }
    }
}

impl Service<Request<Body>> for RuledServices {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Routes as Service<Request<Body>>>::poll_ready(&mut self.services, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The services that were ready; their clone may not be.
        let clone = self.services.clone();
        let services = std::mem::replace(&mut self.services, clone);
        let (rules, span) = (self.rules.clone(), self.rules.span.clone());
        let respond = async move { Ok(rules.respond(services, request).await) };
        Box::pin(respond.instrument(span))
    }
}
