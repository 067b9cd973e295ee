//! Who may connect, by the network that one comes from.

use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use tracing::info;

use crate::log::LogThrottle;
use crate::model::networks::Networks;

use super::TELL_PAUSE;

/// Turns away who comes from a network that may not connect. Its networks can
/// be changed while connections come in; those that stand are not looked at
/// again.
#[derive(Debug)]
pub struct AccessList {
    whom: &'static str,
    table: &'static str,
    networks: RwLock<Networks>,
    told: LogThrottle,
}

impl AccessList {
    /// A gate for connections that messages call `whom`; `table` is where the
    /// config says who may connect.
    pub fn new(whom: &'static str, table: &'static str, networks: &Networks) -> Self {
        Self {
            whom,
            table,
            networks: RwLock::new(networks.clone()),
            told: LogThrottle::new(TELL_PAUSE),
        }
    }

    /// From now on these are the networks.
    pub fn change(&self, networks: &Networks) {
        let mut held = self
            .networks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        held.clone_from(networks);
    }

    /// May who comes from there connect? That somebody may not is told now and
    /// then, and for the caller to count.
    pub fn admits(&self, peer: SocketAddr) -> bool {
        // Held while the networks are gone over.
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        let Err(denied) = networks.check(peer.ip()) else {
            return true;
        };
        if let Some(suppressed) = self.told.admit() {
            let (whom, table) = (self.whom, self.table);
            info!("{whom} {peer} was turned away: in {table} of the config, {denied}{suppressed}");
        }
        false
    }
}
