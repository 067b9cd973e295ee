//! The checks of a connection to a client port: its network, and the number of connections of
//! its address. They precede TLS, so that a rejected connection costs no handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::gateway::Gateway;
use crate::net::AccessCheck;

use super::addresses::{AddressPermit, Addresses};

/// The checks at all client ports of one server.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    gateway: Arc<Gateway>,
    access_check: AccessCheck,
    pub(super) addresses: Arc<Addresses>,
}

impl ConnectionGuard {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            access_check: AccessCheck::new("client", "[clients]"),
            addresses: Arc::new(Addresses::new(gateway.clone())),
            gateway,
        }
    }

    /// Returns a permit for a connection from `peer`, or `None` if it is rejected, which is
    /// counted.
    pub(super) fn admit(&self, peer: SocketAddr) -> Option<AddressPermit> {
        let settings = &self.gateway.settings().clients;
        if !self.access_check.admits(&settings.networks, peer) {
            self.gateway
                .counters()
                .client_connections_rejected
                .network
                .add(1);
            return None;
        }
        self.addresses
            .permit(peer.ip(), settings.connections_per_address)
    }
}
