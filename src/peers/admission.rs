//! Who may call what on the peer port, by the certificate of the connection.
//!
//! Servers of the herd may call everything, its operators everything but
//! `Propagate`, and nobody else anything. That is judged on each call, before its
//! message is read. That a server speaks for no other is judged when its message
//! was read ([`check_sender`]). Without TLS there is nothing to judge by, and
//! everybody may call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::Status;
use tower::Service;
use tracing::Span;

use crate::gateway::Gateway;
use crate::model::name::Name;
use crate::tls::{self, Holder};

use super::incoming::OtherEnd;
use super::refusals::{Refusals, address_of, name_of};

/// The service that only servers may call, as paths begin.
const PROPAGATE: &str = "/proxyherd.v1.Propagate/";

/// The rules of one port.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    gateway: Arc<Gateway>,
    refusals: Arc<Refusals>,
    /// The server's span: calls come in on tasks that know none.
    span: Span,
}

impl Admission {
    /// Those of the server in whose span this is made.
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            refusals: Arc::default(),
            span: Span::current(),
        }
    }

    /// All services of the port, behind these rules.
    pub(super) fn before<S>(&self, services: S) -> Admitting<S> {
        Admitting {
            services,
            admission: self.clone(),
        }
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), Status> {
        let other_end = request.extensions().get::<OtherEnd>();
        let Some(holder) = other_end.and_then(OtherEnd::holder) else {
            return Ok(());
        };
        let herd = &self.gateway.replica().identity().herd;
        let path = request.uri().path();
        let judged = judge(holder, herd, path.starts_with(PROPAGATE));
        judged.inspect_err(|status| {
            self.gateway.counts().refused_calls().add(1);
            self.gateway.counts().refused_by_name().add(1);
            let note = || {
                let (what, from) = (name_of(path), address_of(request.extensions()));
                self.refusals.note(what, from, status);
            };
            self.span.in_scope(note);
        })
    }
}

fn judge(holder: &Holder, herd: &Name, is_propagate: bool) -> Result<(), Status> {
    let refuse = |words: String| Err(Status::permission_denied(words));
    if holder.is_nobody() {
        return refuse(
            "your certificate names no server or operator of a herd: it needs a DNS name such as \
             NAME.HERD.proxyherd (subject alternative name)"
                .to_owned(),
        );
    }
    if !holder.is_member_of(herd) {
        return refuse(format!(
            "your certificate is for {holder}, this server is of another herd"
        ));
    }
    if is_propagate && !holder.is_server_of(herd) {
        return refuse(format!(
            "your certificate is for {holder}: operators may not push, servers only"
        ));
    }
    Ok(())
}

/// May whoever is at the other end call itself `sender`?
pub(super) fn check_sender(
    other_end: Option<&OtherEnd>,
    sender: &str,
    herd: &Name,
) -> Result<(), Status> {
    match other_end.and_then(OtherEnd::holder) {
        Some(holder) if !holder.is_server_called(sender, herd) => {
            Err(Status::permission_denied(format!(
                "your certificate is for {holder}, and you call yourself {}",
                tls::repeat(sender)
            )))
        }
        _ => Ok(()),
    }
}

/// Services behind rules.
#[derive(Clone, Debug)]
pub(super) struct Admitting<S> {
    services: S,
    admission: Admission,
}

impl<S, A, B> Service<Request<A>> for Admitting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.admission.check(&request) {
            Ok(()) => Box::pin(self.services.call(request)),
            Err(status) => Box::pin(async move { Ok(status.into_http()) }),
        }
    }
}
