//! Refusals on the peer port, written to the log without letting whoever is
//! refused flood it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tracing::warn;

use crate::gateway::Gateway;
use crate::log::{LogThrottle, unwritten};

use super::policy::is_refusal;

/// One refusal is written in this time, and those between are counted.
const PAUSE: Duration = Duration::from_secs(1);

/// What a push is called.
const PUSH: &str = "a push";

/// What is called, in words that do not depend on the caller.
pub(super) fn name_of(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("Greet") => "a greeting",
        Some("Push") => PUSH,
        _ => "a call",
    }
}

/// That a push must begin with a greeting is how links learn of a restart. And
/// that the server shuts down, or a caller hangs up, is no refusal.
fn is_news(what: &str, status: &Status) -> bool {
    let is_usual = what == PUSH && status.code() == Code::FailedPrecondition;
    is_refusal(status) && !is_usual
}

/// What was refused on one port.
#[derive(Debug)]
pub(super) struct RejectionLog {
    written: LogThrottle,
    gateway: Arc<Gateway>,
}

impl RejectionLog {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            written: LogThrottle::new(PAUSE),
            gateway,
        }
    }

    /// Counts what ended with this status, if it is a refusal and news, and
    /// writes it if one was not written just now.
    pub(super) fn note(&self, what: &str, from: SocketAddr, status: &Status) {
        if !is_news(what, status) {
            return;
        }
        self.gateway.counts().refused_calls().add(1);
        if let Some(untold) = self.written.turn() {
            let (code, words) = (status.code(), status.message());
            let others = unwritten(untold);
            warn!("refused {what} from {from}: {code:?}: {words}{others}");
        }
    }
}
