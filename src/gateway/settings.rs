//! Settings of a gateway, and the ones in force while it runs.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::clock::saturating_nanos;

/// Limits on the reports of a server's own clients. Reports from neighbours are not checked against
/// them: two servers could disagree about a report forever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Maximum time by which a client's clock may be ahead of the server's. Default 1 day, at most
    /// 100 years. Too low: reports of clients whose clock is slightly fast are rejected. Too high:
    /// one wrong clock pins a client's position until that time.
    pub max_future: Duration,
    /// Number of clients at which reports of new ones are rejected. Default ten million, about
    /// 1.6 GB. Too low: new clients are rejected. Too high: whoever can connect can fill the
    /// memory.
    pub max_clients: usize,
    /// Age, by its client's time, after which a report expires. A day later it is purged. Default
    /// never, 1 s to 100 years, the same on all servers of a herd. Too low: clients that report
    /// rarely are hidden. Too high: clients that are gone use memory.
    pub expire_after: Option<Duration>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            max_future: Duration::from_secs(24 * 60 * 60),
            max_clients: 10_000_000,
            expire_after: None,
        }
    }
}

/// The limits in force. Each IAMAT reads them without a lock.
#[derive(Debug)]
pub(super) struct ReportLimits {
    /// In nanoseconds, at most 292 years.
    max_future: AtomicI64,
    max_clients: AtomicUsize,
}

impl ReportLimits {
    pub(super) fn new(settings: &GatewaySettings) -> Self {
        Self {
            max_future: AtomicI64::new(saturating_nanos(settings.max_future)),
            max_clients: AtomicUsize::new(settings.max_clients),
        }
    }

    pub(super) fn set(&self, settings: &GatewaySettings) {
        let max_future = saturating_nanos(settings.max_future);
        self.max_future.store(max_future, Relaxed);
        self.max_clients.store(settings.max_clients, Relaxed);
    }

    pub(super) fn max_future(&self) -> i64 {
        self.max_future.load(Relaxed)
    }

    pub(super) fn max_clients(&self) -> usize {
        self.max_clients.load(Relaxed)
    }
}
