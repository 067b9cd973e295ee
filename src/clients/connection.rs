//! One open connection of a client, from its admission to its end: its slot among the connections
//! of the server, and its lines in the log.
//!
//! A connection that has sent nothing may be a load balancer's probe, of which there are many. Its
//! begin is logged with its first bytes, so a probe is logged at level debug only.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tracing::{debug, info};

use crate::gateway::OpenConnection;
use crate::net::{Slot, begins_proxy_header};

use super::addresses::AddressPermit;
use super::guard::ConnectionGuard;

/// An open connection. It counts under all limits until this is dropped.
#[derive(Debug)]
pub(super) struct ClientConnection {
    peer: SocketAddr,
    slot: Slot,
    has_sent: AtomicBool,
    guard: Arc<ConnectionGuard>,
    _address: AddressPermit,
    _open: OpenConnection,
}

impl ClientConnection {
    pub(super) fn new(
        peer: SocketAddr,
        slot: Slot,
        guard: Arc<ConnectionGuard>,
        address: AddressPermit,
        open: OpenConnection,
    ) -> Self {
        Self {
            peer,
            slot,
            has_sent: AtomicBool::new(false),
            guard,
            _address: address,
            _open: open,
        }
    }

    /// Records that the client sent something. `received` are the bytes of it that no command has
    /// consumed: at first, all.
    pub(super) fn note_received(&self, received: &[u8]) {
        // Only the session's task writes it.
        if self.has_sent.load(Relaxed) {
            return;
        }
        self.has_sent.store(true, Relaxed);
        self.slot.identify();
        info!("client {} connected", self.peer);
        if begins_proxy_header(received) {
            self.guard.note_unexpected_proxy_header(self.peer);
        }
    }

    /// Logs the end of the connection. `is_by_client` is true if the client closed it.
    pub(super) fn log_end(&self, end: impl fmt::Display, is_by_client: bool) {
        let peer = self.peer;
        if is_by_client && !self.has_sent.load(Relaxed) {
            debug!("client {peer} connected and sent nothing: {end}");
        } else {
            info!("client {peer} disconnected: {end}");
        }
    }
}
