//! The check of connections against the networks that may connect to a port.

use std::net::SocketAddr;

use tracing::info;

use crate::log::LogThrottle;
use crate::model::networks::Networks;

use super::LIMIT_LOG_INTERVAL;

/// Rejects connections from networks that may not connect, and logs that.
#[derive(Debug)]
pub struct AccessCheck {
    port: &'static str,
    table: &'static str,
    rejections: LogThrottle,
}

impl AccessCheck {
    /// Creates the check of a port. The log names `port` ("client" or "web") and `table`,
    /// the table of the config that holds the networks.
    pub fn new(port: &'static str, table: &'static str) -> Self {
        Self {
            port,
            table,
            rejections: LogThrottle::new(LIMIT_LOG_INTERVAL),
        }
    }

    /// Returns true if `networks` allow a connection from `peer`. Logs rejections, rate limited;
    /// the caller counts them.
    pub fn admits(&self, networks: &Networks, peer: SocketAddr) -> bool {
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
