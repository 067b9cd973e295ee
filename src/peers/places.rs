//! How many calls may be under way on the peer port: so many of neighbours, and as
//! many of all others, so that strangers do not take the places of neighbours.
//!
//! A neighbour's call that comes too many is refused. Another's gets the place of
//! an earlier one ([`EvictingLimit`]): a neighbour that has restarted is a stranger until
//! it has greeted, and strangers that hold calls open must not keep it out.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::Status;

use crate::gateway::Gateway;
use crate::net::EvictingLimit;
use crate::tls::PeerIdentity;

use super::incoming::OtherEnd;

/// The places of one port.
#[derive(Debug)]
pub(super) struct CallLimits {
    most: usize,
    gateway: Arc<Gateway>,
    neighbours: Semaphore,
    others: EvictingLimit,
}

impl CallLimits {
    /// So many for each, on the port of one server.
    pub(super) fn new(most: usize, gateway: Arc<Gateway>) -> Self {
        Self {
            most,
            gateway,
            neighbours: Semaphore::new(most),
            others: EvictingLimit::new(most, "calls of strangers are under way at the peer port"),
        }
    }

    /// Makes a call of `other_end` in a place: a neighbour's if there is one, a
    /// stranger's unless its place is needed before it is answered. Must run in the
    /// server's span, under which it is told who gave way.
    pub(super) async fn make<A>(
        &self,
        call: impl Future<Output = A>,
        other_end: &OtherEnd,
    ) -> Result<A, Status> {
        if self.is_neighbour(other_end) {
            let place = self.neighbours.try_acquire();
            let _place = place.map_err(|_| self.refusal(""))?;
            return Ok(call.await);
        }
        let place = self.others.enter(other_end.address.ip());
        tokio::select! {
            biased;
            answer = call => Ok(answer),
            () = place.lost() => Err(self.refusal(" of strangers")),
        }
    }

    /// Is a server of the herd behind it, by its certificate, or a neighbour that
    /// has greeted, and is one still?
    fn is_neighbour(&self, other_end: &OtherEnd) -> bool {
        let replica = self.gateway.replica();
        let is_server = |holder: &PeerIdentity| holder.is_server_of(&replica.identity().herd);
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
