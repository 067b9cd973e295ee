//! The proof that a server makes progress, for a watchdog.
//!
//! A hang here is a loop that no longer turns, a lock that is held forever, or a runtime whose
//! threads all block. What only waits for others is none: links that are down, a disk that is
//! slow, clients that do not read, places that do not answer; all of these have limits of their own.

use std::sync::Arc;

use crate::gateway::Gateway;
use crate::net::TurnProbe;

use super::RunningServer;

/// A probe of one server. It keeps no server running.
#[derive(Clone, Debug)]
pub struct ProgressProbe {
    gateway: Arc<Gateway>,
    /// The loops that accept connections.
    ports: Vec<TurnProbe>,
}

impl ProgressProbe {
    pub(super) fn new(gateway: Arc<Gateway>, ports: Vec<TurnProbe>) -> Self {
        Self { gateway, ports }
    }

    /// Waits until each port has accepted what was there, or has closed, and each lock of the store
    /// and of the links was free once. Never ends while one of them hangs; then it may block the
    /// thread, as a merge would.
    pub async fn progress(&self) {
        for port in &self.ports {
            port.turned().await;
        }
        self.gateway.replica().store().pass_locks();
        for (neighbour, _) in self.gateway.replica().neighbours() {
            self.gateway.links().state(neighbour);
        }
    }
}

impl RunningServer {
    /// Returns a probe of its progress.
    pub fn progress_probe(&self) -> ProgressProbe {
        self.progress.clone()
    }
}
