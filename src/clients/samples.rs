//! A gateway for the tests of this folder.

use std::sync::Arc;

use crate::gateway::{Clock, Gateway, ServerSettings};
use crate::model::name::Name;
use crate::model::timestamp::UnixNanos;
use crate::replication::Incarnation;
use crate::replication::replica::{Replica, ServerIdentity};

/// Returns the gateway of a herd of one server, Riley, whose clock is stopped at the epoch.
pub(super) fn gateway() -> Arc<Gateway> {
    let identity = ServerIdentity {
        herd: Name::parse("test").unwrap(),
        name: Name::parse("Riley").unwrap(),
        incarnation: Incarnation::new(1).unwrap(),
    };
    let members = vec![identity.name.clone()];
    let replica = Replica::new(identity, members, Vec::new(), [1, 2, 3, 4]);
    let clock = Clock::new(|| UnixNanos(0));
    Arc::new(Gateway::new(replica, clock, ServerSettings::default()))
}
