//! Limits on what a client may report, which change while the server runs.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use super::{GatewaySettings, nanos};

/// What [`GatewaySettings`] say and may change, each read on its own with every IAMAT.
#[derive(Debug)]
pub(super) struct Limits {
    /// In nanoseconds, at most 292 years.
    max_future: AtomicI64,
    max_clients: AtomicUsize,
}

impl Limits {
    pub(super) fn new(settings: &GatewaySettings) -> Self {
        Self {
            max_future: AtomicI64::new(nanos(settings.max_future)),
            max_clients: AtomicUsize::new(settings.max_clients),
        }
    }

    pub(super) fn set(&self, settings: &GatewaySettings) {
        self.max_future.store(nanos(settings.max_future), Relaxed);
        self.max_clients.store(settings.max_clients, Relaxed);
    }

    pub(super) fn max_future(&self) -> i64 {
        self.max_future.load(Relaxed)
    }

    pub(super) fn max_clients(&self) -> usize {
        self.max_clients.load(Relaxed)
    }
}
