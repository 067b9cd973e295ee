//! The checks of a connection to a client port: whether a proxy names its client, its network, and
//! the number of connections of its address. They precede TLS, so that a rejected connection costs
//! no handshake.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::gateway::Gateway;
use crate::log::LogThrottle;
use crate::net::{AccessCheck, ProxyGate};

use super::addresses::{AddressPermit, Addresses};

/// Time limit of all handshakes of a client, unless its idle limit is shorter.
const MAX_HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Interval between log messages about PROXY protocol headers that are not expected. Suppressed
/// ones are counted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The checks at all client ports of one server.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    gateway: Arc<Gateway>,
    access_check: AccessCheck,
    pub(super) addresses: Arc<Addresses>,
    unexpected_headers: LogThrottle,
}

impl ConnectionGuard {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            access_check: AccessCheck::new("client", "[clients]"),
            addresses: Arc::new(Addresses::new(gateway.clone())),
            unexpected_headers: LogThrottle::new(LOG_INTERVAL),
            gateway,
        }
    }

    /// Returns the present time limit of a handshake.
    pub(super) fn handshake_time(&self) -> Duration {
        self.gateway.settings().clients.idle.min(MAX_HANDSHAKE_TIME)
    }

    /// Returns the gate of the header that a connection from this address begins with, or `None`
    /// if `[clients] proxies` does not contain the address.
    pub(super) fn proxy_gate(&self, from: IpAddr) -> Option<ProxyGate> {
        let settings = self.gateway.settings();
        let mut proxies = settings.clients.proxies.iter();
        proxies.any(|network| network.contains(from)).then(|| {
            let rejected = &self.gateway.counters().client_connections_rejected;
            ProxyGate {
                time_limit: self.handshake_time(),
                rejected: rejected.proxy_header.clone(),
            }
        })
    }

    /// Logs that a connection began with a header which is answered as any other invalid line.
    pub(super) fn note_unexpected_proxy_header(&self, peer: SocketAddr) {
        if let Some(suppressed) = self.unexpected_headers.admit() {
            let address = peer.ip().to_canonical();
            warn!(
                "client {peer} sent a PROXY protocol header, which is answered as an invalid \
                 command: [clients] proxies in the config does not contain {address}; add it if a \
                 proxy of yours has that address{suppressed}"
            );
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
