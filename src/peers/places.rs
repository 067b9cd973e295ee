//! How many calls may be under way on the peer port: so many of neighbours, and as
//! many of all others, so that strangers do not take the places of neighbours.
//!
//! A neighbour's call that comes too many is refused. Another's gets the place of
//! an earlier one ([`Crowd`]): a neighbour that has restarted is a stranger until
//! it has greeted, and strangers that hold calls open must not keep it out.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::server::NamedService;
use tower::Service;
use tracing::Span;

use crate::gateway::Gateway;
use crate::sockets::Crowd;
use crate::tls::Holder;

use super::incoming::OtherEnd;

/// The places of one port.
#[derive(Clone, Debug)]
pub(super) struct Places {
    most: usize,
    gateway: Arc<Gateway>,
    neighbours: Arc<Semaphore>,
    others: Crowd,
    /// The server's span: calls come in on tasks that know none.
    span: Span,
}

impl Places {
    /// So many for each, on the port of one server, in whose span this is made.
    pub(super) fn new(most: usize, gateway: Arc<Gateway>) -> Self {
        Self {
            most,
            gateway,
            neighbours: Arc::new(Semaphore::new(most)),
            others: Crowd::new(most, "calls of strangers are under way at the peer port"),
            span: Span::current(),
        }
    }

    /// A service whose calls take a place before their message is read, so that
    /// what has none holds no memory, until they are answered.
    pub(super) fn before<S>(&self, service: S) -> Placing<S> {
        Placing {
            service,
            places: self.clone(),
        }
    }

    /// Is a server of the herd behind it, by its certificate, or a neighbour that
    /// has greeted, and is one still?
    fn is_neighbour(&self, other_end: &OtherEnd) -> bool {
        let replica = self.gateway.replica();
        let is_server = |holder: &Holder| holder.is_server_of(&replica.identity().herd);
        let greeted = other_end.neighbour();
        greeted.is_some_and(|name| replica.is_neighbour(name.as_str()))
            || other_end.holder().is_some_and(is_server)
    }

    fn refusal(&self, what: &str) -> Status {
        let most = self.most;
        Status::resource_exhausted(format!(
            "{most} calls{what} are under way on this port: try again later"
        ))
    }
}

/// A service behind places.
#[derive(Clone, Debug)]
pub(super) struct Placing<S> {
    service: S,
    places: Places,
}

impl<S: NamedService> NamedService for Placing<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, A, B> Service<Request<A>> for Placing<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let places = &self.places;
        let other_end = request.extensions().get::<OtherEnd>();
        if other_end.is_some_and(|other_end| places.is_neighbour(other_end)) {
            let Ok(place) = places.neighbours.clone().try_acquire_owned() else {
                let refusal = places.refusal("");
                return Box::pin(async move { Ok(refusal.into_http()) });
            };
            let call = self.service.call(request);
            return Box::pin(async move {
                let _place = place;
                call.await
            });
        }
        let from = other_end.map_or(NOWHERE, |other_end| other_end.address.ip());
        let place = places.span.in_scope(|| places.others.enter(from));
        let refusal = places.refusal(" of strangers");
        let call = self.service.call(request);
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = call => answer,
                () = place.lost() => Ok(refusal.into_http()),
            }
        })
    }
}

/// Where calls are from whose connection tells no address.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
