//! The checks of a connection to a client port: its network, and the number of connections of
//! its address. They precede TLS, so that a rejected connection costs no handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::gateway::Gateway;
use crate::net::AccessList;

use super::ClientSettings;
use super::addresses::{AddressPermit, Addresses};

/// The checks at all client ports of one server.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    gateway: Arc<Gateway>,
    access_list: AccessList,
    pub(super) addresses: Arc<Addresses>,
}

impl ConnectionGuard {
    pub(super) fn new(gateway: Arc<Gateway>, settings: &ClientSettings) -> Self {
        Self {
            access_list: AccessList::new("client", "[clients]", &settings.networks),
            addresses: Arc::new(Addresses::new(gateway.clone(), settings)),
            gateway,
        }
    }

    /// Replaces the limits.
    pub(super) fn change(&self, settings: &ClientSettings) {
        self.access_list.change(&settings.networks);
        self.addresses.change(settings);
    }

    /// Returns a permit for a connection from `peer`, or `None` if it is rejected, which is
    /// counted.
    pub(super) fn admit(&self, peer: SocketAddr) -> Option<AddressPermit> {
        if !self.access_list.admits(peer) {
            self.gateway
                .counters()
                .client_connections_rejected
                .network
                .add(1);
            return None;
        }
        self.addresses.permit(peer.ip())
    }
}
