//! Limits on concurrent calls on the peer port: one for neighbours, and one for all
//! others, so that strangers do not take the places of neighbours.
//!
//! A call of a neighbour beyond the limit is rejected. Another's takes the place of an
//! earlier one ([`EvictingLimit`]): a neighbour that has restarted is a stranger until
//! it has greeted, and strangers that hold calls open must not keep it out.
//!
//! Each push counts as a call, from its arrival to its acknowledgement. A push stream
//! does not, or an idle neighbour would hold a place.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

use crate::gateway::Gateway;
use crate::net::EvictingLimit;
use crate::tls::PeerIdentity;

use super::incoming::OtherEnd;

/// The limits of one port.
#[derive(Debug)]
pub(super) struct CallLimits {
    max_calls: usize,
    gateway: Arc<Gateway>,
    neighbours: Semaphore,
    others: EvictingLimit,
}

impl CallLimits {
    /// Allows `max_calls` of neighbours, and as many of others, on the port of one
    /// server.
    pub(super) fn new(max_calls: usize, gateway: Arc<Gateway>) -> Self {
        Self {
            max_calls,
            gateway,
            neighbours: Semaphore::new(max_calls),
            others: EvictingLimit::new(
                max_calls,
                "calls of strangers are under way at the peer port",
            ),
        }
    }

    /// Runs a call of `other_end` within the limits. Must run in the server's span, in
    /// which evictions are logged.
    ///
    /// # Errors
    ///
    /// `RESOURCE_EXHAUSTED` if there is no place for a neighbour's call, or another
    /// call has taken a stranger's.
    pub(super) async fn run<A>(
        &self,
        call: impl Future<Output = A>,
        other_end: &OtherEnd,
    ) -> Result<A, Status> {
        if self.is_neighbour(other_end) {
            let _permit = self.neighbour()?;
            return Ok(call.await);
        }
        let slot = self.others.enter(other_end.address.ip());
        tokio::select! {
            biased;
            answer = call => Ok(answer),
            () = slot.evicted() => Err(self.exceeded(" of strangers")),
        }
    }

    /// Returns the place of a neighbour's call, for as long as it is held.
    ///
    /// # Errors
    ///
    /// `RESOURCE_EXHAUSTED` if there is none.
    pub(super) fn neighbour(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.neighbours.try_acquire().map_err(|_| self.exceeded(""))
    }

    /// Returns true if the certificate names a server of the herd, or a neighbour has
    /// greeted over the connection and is one still.
    fn is_neighbour(&self, other_end: &OtherEnd) -> bool {
        let replica = self.gateway.replica();
        let is_server = |holder: &PeerIdentity| holder.is_server_of(&replica.identity().herd);
        let greeted = other_end.neighbour();
        greeted.is_some_and(|name| replica.is_neighbour(name.as_str()))
            || other_end.holder().is_some_and(is_server)
    }

    fn exceeded(&self, whose: &str) -> Status {
        let limit = self.max_calls;
        Status::resource_exhausted(format!(
            "{limit} calls{whose} are under way on this port: try again later"
        ))
    }
}
