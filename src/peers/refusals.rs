//! Refusals on the peer port, written to the log without letting whoever is
//! refused flood it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Request, Response};
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::Service;
use tracing::{Span, warn};

use crate::gateway::Gateway;
use crate::log::Seldom;

use super::incoming::OtherEnd;
use super::policy::is_refusal;

/// One refusal is written in this time, and those between are counted.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts and writes what the service inside refuses, at whatever stage: before a message
/// was read, while it was, or when it was judged.
#[derive(Clone, Debug)]
pub(super) struct Noting<S> {
    service: S,
    refusals: Arc<Refusals>,
    gateway: Arc<Gateway>,
    /// The server's span: calls come in on tasks that know none.
    span: Span,
}

impl<S> Noting<S> {
    /// In front of a service of the server in whose span this is made.
    pub(super) fn new(service: S, gateway: Arc<Gateway>) -> Self {
        Self {
            service,
            refusals: Arc::default(),
            gateway,
            span: Span::current(),
        }
    }
}

impl<S: NamedService> NamedService for Noting<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, A, B> Service<Request<A>> for Noting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let what = name_of(request.uri().path());
        let from = address_of(request.extensions());
        let (refusals, gateway) = (self.refusals.clone(), self.gateway.clone());
        let span = self.span.clone();
        let call = self.service.call(request);
        Box::pin(async move {
            let response = call.await?;
            // Of an answer that is no refusal, the status comes behind it.
            if let Some(status) = Status::from_header_map(response.headers())
                && is_news(what, &status)
            {
                gateway.counts().refused_calls().add(1);
                span.in_scope(|| refusals.note(what, from, &status));
            }
            Ok(response)
        })
    }
}

/// What a push is called.
const PUSH: &str = "a push";

/// What is called, in words that do not depend on the caller.
pub(super) fn name_of(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("Greet") => "a greeting",
        Some("Push") => PUSH,
        _ => "a call",
    }
}

pub(super) fn address_of(extensions: &Extensions) -> Option<SocketAddr> {
    extensions
        .get::<OtherEnd>()
        .map(|other_end| other_end.address)
}

/// That a push must begin with a greeting is how links learn of a restart. And
/// that the server shuts down, or a caller hangs up, is no refusal.
fn is_news(what: &str, status: &Status) -> bool {
    let is_usual = what == PUSH && status.code() == Code::FailedPrecondition;
    is_refusal(status) && !is_usual
}

/// What was refused on one port.
#[derive(Debug)]
pub(super) struct Refusals(Seldom);

impl Default for Refusals {
    fn default() -> Self {
        Self(Seldom::new(PAUSE))
    }
}

impl Refusals {
    /// Writes a refusal, or counts it.
    pub(super) fn note(&self, what: &str, from: Option<SocketAddr>, status: &Status) {
        if let Some(unwritten) = self.0.turn() {
            let from = from.map_or("an unknown address".to_owned(), |from| from.to_string());
            let (code, words) = (status.code(), status.message());
            let others = match unwritten {
                0 => String::new(),
                count => format!(" ({count} more refusals before this one were not written)"),
            };
            warn!("refused {what} from {from}: {code:?}: {words}{others}");
        }
    }
}
