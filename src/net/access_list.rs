//! The networks that may connect to a port.

use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use tracing::info;

use crate::log::LogThrottle;
use crate::model::networks::Networks;

use super::LIMIT_LOG_INTERVAL;

/// Rejects connections from networks that may not connect.
///
/// The networks can change at any time. A change does not affect open connections.
#[derive(Debug)]
pub struct AccessList {
    port: &'static str,
    table: &'static str,
    networks: RwLock<Networks>,
    rejections: LogThrottle,
}

impl AccessList {
    /// Creates the access list of a port. The log names `port` ("client" or "web") and `table`,
    /// the table of the config that holds the networks.
    pub fn new(port: &'static str, table: &'static str, networks: &Networks) -> Self {
        Self {
            port,
            table,
            networks: RwLock::new(networks.clone()),
            rejections: LogThrottle::new(LIMIT_LOG_INTERVAL),
        }
    }

    /// Replaces the networks.
    pub fn change(&self, networks: &Networks) {
        let mut held = self
            .networks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        held.clone_from(networks);
    }

    /// Returns true if a connection from `peer` is allowed. Logs rejections, rate limited; the
    /// caller counts them.
    pub fn admits(&self, peer: SocketAddr) -> bool {
        // The lock is held while the networks are searched.
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        let Err(denied) = networks.check(peer.ip()) else {
            return true;
        };
        if let Some(suppressed) = self.rejections.admit() {
            let (port, table) = (self.port, self.table);
            info!(
                "rejected a connection from {peer} to the {port} port: in {table} of the config, \
                 {denied}{suppressed}"
            );
        }
        false
    }
}
