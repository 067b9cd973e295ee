//! Limits on concurrent calls on the peer port: one for neighbours, one for the calls of
//! all others to services of this project, and one for theirs to health and reflection,
//! so that strangers do not take the places of neighbours.
//!
//! A call of a neighbour beyond the limit is rejected. Another's takes the place of an
//! earlier one ([`EvictingLimit`]): a neighbour that has restarted is a stranger until
//! it has greeted, and strangers that hold calls open must not keep it out.
//!
//! A call counts until its answer was read. Each push counts as a call, from its arrival
//! to its acknowledgement. A push stream does not, or an idle neighbour would hold a
//! place.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::gateway::Gateway;
use crate::net::{EvictingLimit, Slot};
use crate::tls::PeerIdentity;

use super::incoming::OtherEnd;
use super::methods::MethodGroup;

/// The limits of one port.
#[derive(Debug)]
pub(super) struct CallLimits {
    max_calls: usize,
    gateway: Arc<Gateway>,
    neighbours: Arc<Semaphore>,
    strangers: EvictingLimit,
    common: EvictingLimit,
}

/// The place of one call, which is free again when this is dropped.
#[derive(Debug)]
pub(super) enum CallPlace {
    /// The place of a neighbour's call.
    Neighbour {
        /// Gives the place back.
        _permit: OwnedSemaphorePermit,
    },
    /// The place of another's call.
    Other(Slot),
}

/// Resolves when another call has taken a place. Without one it never does.
pub(super) fn evicted(place: Option<&CallPlace>) -> impl Future<Output = ()> + Send + use<> {
    let slot = match place {
        Some(CallPlace::Other(slot)) => Some(slot.evicted()),
        Some(CallPlace::Neighbour { .. }) | None => None,
    };
    async {
        match slot {
            Some(evicted) => evicted.await,
            None => pending().await,
        }
    }
}

impl CallLimits {
    /// Allows `max_calls` in each group, on the port of one server.
    pub(super) fn new(max_calls: usize, gateway: Arc<Gateway>) -> Self {
        let evicted = &gateway.counters().peer_calls_evicted;
        Self {
            max_calls,
            neighbours: Arc::new(Semaphore::new(max_calls)),
            strangers: EvictingLimit::new(
                max_calls,
                "calls of strangers are under way at the peer port",
                evicted.clone(),
            ),
            common: EvictingLimit::new(
                max_calls,
                "calls to health and reflection are under way at the peer port",
                evicted.clone(),
            ),
            gateway,
        }
    }

    /// Returns a place for a call of `other_end`. Must be called in the server's span, in
    /// which evictions are logged.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if there is none for a neighbour.
    pub(super) fn enter(
        &self,
        group: MethodGroup,
        other_end: &OtherEnd,
    ) -> Result<CallPlace, Status> {
        let from = other_end.address.ip();
        match group {
            MethodGroup::Common => Ok(CallPlace::Other(self.common.enter(from))),
            _ if self.is_neighbour(other_end) => self.neighbour(),
            _ => Ok(CallPlace::Other(self.strangers.enter(from))),
        }
    }

    /// Returns the place of a neighbour's call.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if there is none.
    pub(super) fn neighbour(&self) -> Result<CallPlace, Status> {
        let permit = self.neighbours.clone().try_acquire_owned();
        let permit = permit.map_err(|_| self.exceeded(""))?;
        Ok(CallPlace::Neighbour { _permit: permit })
    }

    /// Returns the status of a call whose place another has taken.
    pub(super) fn lost_place(&self) -> Status {
        self.exceeded(" of strangers")
    }

    /// Returns true if the certificate names a server of the herd, or a neighbour has
    /// greeted over the connection and is one still.
    fn is_neighbour(&self, other_end: &OtherEnd) -> bool {
        let replica = self.gateway.replica();
        let is_server = |holder: &PeerIdentity| holder.is_server_of(replica.herd());
        let greeted = other_end.neighbour();
        greeted.is_some_and(|name| replica.is_neighbour(name.as_str()))
            || other_end.holder().is_some_and(is_server)
    }

    fn exceeded(&self, whose: &str) -> Status {
        let limit = self.max_calls;
        Status::unavailable(format!(
            "{limit} calls{whose} are under way on this port: try again later"
        ))
    }
}
