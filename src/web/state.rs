//! What the routes of one port share, and the checks that a request passes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::Method;
use http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::gateway::{Gateway, RejectedWebCallCounters, StatusSource};
use crate::model::address::Address;

use super::access::Access;
use super::deadline::Deadline;
use super::herd_view::{Dialling, HerdView};
use super::problem::Problem;

/// Maximum number of calls that scan or ask other servers at a time. An answer takes up to 20 MB.
const MAX_CALLS: usize = 8;

/// Time that a further one waits.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Maximum number of concurrent watches. Each uses up to two batches of 256 KiB and a connection.
const MAX_WATCHES: usize = 32;

/// What the routes of one port share.
#[derive(Debug)]
pub(super) struct WebState {
    pub(super) source: StatusSource,
    pub(super) herd: HerdView,
    pub(super) watches: Arc<Semaphore>,
    access: Access,
    calls: Arc<Semaphore>,
}

/// What a request needs of its connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// The address of the other end.
    pub(super) from: IpAddr,
    /// The time limit of the connection.
    pub(super) deadline: Deadline,
}

/// The state of a port, as handlers extract it.
pub(super) type Web = State<Arc<WebState>>;

impl WebState {
    /// Creates the state of a port that has these addresses.
    pub(super) fn new(source: StatusSource, dialling: Dialling, hosts: Vec<Address>) -> Self {
        Self {
            herd: HerdView::new(source.clone(), dialling),
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            access: Access::new(hosts),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            source,
        }
    }

    /// Returns the gateway of the server.
    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        self.source.gateway()
    }

    /// Returns the counters of rejected calls.
    pub(super) fn rejected(&self) -> &RejectedWebCallCounters {
        &self.gateway().counters().web_calls_rejected
    }

    /// Waits for the turn of a call that takes time or memory.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let acquired = timeout(MAX_WAIT, self.calls.clone().acquire_owned()).await;
        acquired.ok().and_then(Result::ok).ok_or_else(|| {
            self.rejected().max_calls.add(1);
            Problem::unavailable("the server is overloaded with calls: try again later")
        })
    }

    /// Checks method, host and token of a request.
    pub(super) fn check(&self, request: &Parts) -> Result<(), Problem> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(Problem::method_not_allowed());
        }
        let path = request.uri.path();
        if matches!(path, "/metrics" | "/healthz" | "/readyz") {
            return Ok(());
        }
        let settings = self.gateway().settings();
        if !settings.web.api {
            return Err(Problem::not_found(
                "not found: the paths are /metrics, /healthz and /readyz; page and API are \
                 switched off (api under [web])",
            ));
        }
        let host = self.access.check_host(request);
        host.inspect_err(|_| self.rejected().host.add(1))?;
        if !path.starts_with("/api/") {
            return Ok(());
        }
        if let Some(token) = &settings.web_token {
            let connection = request.extensions.get::<Connection>();
            let from = connection.ok_or_else(Problem::internal)?.from;
            self.access
                .check_token(token, from, request, self.rejected())?;
        }
        if self.gateway().shutdown().has_begun() {
            return Err(Problem::unavailable("the server shuts down"));
        }
        Ok(())
    }
}
