//! A limit on the number of connections that rejects further ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::warn;

use crate::log::LogThrottle;

use super::LIMIT_LOG_INTERVAL;

/// A limit on the number of connections at a time, shared by its clones.
///
/// Each call passes the present limit, since it may change.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    open: Arc<AtomicUsize>,
    port: &'static str,
    remedy: &'static str,
    rejections: Arc<LogThrottle>,
}

/// The right to one connection, until this is dropped.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<AtomicUsize>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl ConnectionLimit {
    /// Creates a limit without connections. The log names `port` ("client" or "web") and
    /// proposes `remedy`.
    pub fn new(port: &'static str, remedy: &'static str) -> Self {
        Self {
            open: Arc::default(),
            port,
            remedy,
            rejections: Arc::new(LogThrottle::new(LIMIT_LOG_INTERVAL)),
        }
    }

    /// Returns a permit for one more connection, or `None` if `max_connections` or more are
    /// open. Logs rejections, rate limited.
    pub fn acquire(&self, max_connections: usize) -> Option<ConnectionPermit> {
        let one_more = |open| (open < max_connections).then_some(open + 1);
        if self.open.fetch_update(Relaxed, Relaxed, one_more).is_ok() {
            return Some(ConnectionPermit(self.open.clone()));
        }
        if let Some(suppressed) = self.rejections.admit() {
            let (port, remedy) = (self.port, self.remedy);
            warn!(
                "rejected a connection to the {port} port: {max_connections} are open, which is \
                 the limit; {remedy}{suppressed}"
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_lowered_rejects_until_enough_connections_close() {
        let limit = ConnectionLimit::new("test", "wait");
        let mut permits: Vec<_> = (0..3).map(|_| limit.acquire(3).unwrap()).collect();
        assert!(limit.acquire(3).is_none());
        drop(permits.pop());
        assert!(limit.acquire(2).is_none());
        drop(permits.pop());
        assert!(limit.clone().acquire(2).is_some());
    }
}
