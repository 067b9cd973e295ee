//! The log of rejected calls on the peer port, with a rate limit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tracing::warn;

use crate::gateway::Gateway;
use crate::log::LogThrottle;

use super::policy::is_rejection;

/// Minimum time between two lines. Rejections between them are counted.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The name of a push in the log.
pub(super) const PUSH: &str = "a push";

/// Returns the name of a call in the log. Nothing of it comes from the caller.
pub(super) fn name_of(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("Greet") => "a greeting",
        Some("Push") => PUSH,
        _ => "a call",
    }
}

/// Returns true if a status is worth a line. A push that is rejected until a greeting is how
/// links notice a restart. A server that shuts down, or a caller that hangs up, rejects
/// nothing.
fn is_notable(what: &str, status: &Status) -> bool {
    let is_usual = what == PUSH && status.code() == Code::FailedPrecondition;
    is_rejection(status) && !is_usual
}

/// The rejections of one port.
#[derive(Debug)]
pub(super) struct RejectionLog {
    throttle: LogThrottle,
    gateway: Arc<Gateway>,
}

impl RejectionLog {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            throttle: LogThrottle::new(LOG_INTERVAL),
            gateway,
        }
    }

    /// Counts a call that ended with `status`, if that is a notable rejection, and logs
    /// it unless another was logged just before.
    pub(super) fn log(&self, what: &str, from: SocketAddr, status: &Status) {
        if is_notable(what, status) {
            self.add(what, from, status);
        }
    }

    /// Counts a call that was rejected with `status`, and logs it unless another was logged
    /// just before.
    pub(super) fn add(&self, what: &str, from: SocketAddr, status: &Status) {
        self.gateway.counters().peer_calls_rejected.add(1);
        if let Some(suppressed) = self.throttle.admit() {
            let (code, message) = (status.code(), status.message());
            warn!("rejected {what} from {from}: {code:?}: {message}{suppressed}");
        }
    }
}
