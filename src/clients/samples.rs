//! A gateway and a connection for the tests of this folder.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::gateway::{Clock, Gateway, ServerSettings};
use crate::model::name::Name;
use crate::model::timestamp::UnixNanos;
use crate::net::EvictingLimit;
use crate::replication::Incarnation;
use crate::replication::replica::{Replica, ServerIdentity};

use super::connection::ClientConnection;
use super::guard::ConnectionGuard;

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

/// Returns a connection that has sent nothing.
pub(super) fn connection(gateway: &Arc<Gateway>) -> ClientConnection {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let guard = Arc::new(ConnectionGuard::new(gateway.clone()));
    let slot = EvictingLimit::new(1, "connections", Arc::default()).enter(peer.ip());
    let permit = guard.admit(peer).unwrap();
    ClientConnection::new(peer, slot, guard, permit, gateway.connect())
}
