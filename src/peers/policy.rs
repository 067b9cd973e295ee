//! The tower stack of every call to a neighbour.
//!
//! From the outside in: a time limit for the whole call; a few quick retries with
//! exponential backoff and jitter, under a budget; a time limit for each attempt; the
//! attempt. The stack covers hiccups. The link itself covers outages: it tries again at a
//! slower pace for as long as they last.
//!
//! Retries clone [`PeerRequest`]s, which is cheap, and not HTTP requests, whose bodies
//! cannot be cloned.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tower::retry::Policy;
use tower::retry::backoff::{Backoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff};
use tower::retry::budget::{Budget, TpsBudget};
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder};

use crate::cause;
use crate::proto::{
    DigestRequest, DigestResponse, GreetRequest, GreetResponse, PushFrame, PushResponse,
};

use super::PeerSettings;

/// Minimum delay before a quick retry.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(10);

/// Maximum delay before a quick retry: short, since retries are for hiccups.
const MAX_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Number of retries a second that a link may make in any case: enough for hiccups, and
/// no storm when a neighbour is in trouble.
const RETRIES_PER_SECOND: u32 = 5;

/// Number of retries that each successful call adds.
const RETRIES_PER_CALL: f32 = 0.2;

/// Time for which unused retries are kept.
const BUDGET_TTL: Duration = Duration::from_secs(10);

/// A request to a neighbour. Cheap to clone.
#[derive(Clone, Debug)]
pub enum PeerRequest {
    /// Begins a link.
    Greet(Arc<GreetRequest>),
    /// Transfers a batch.
    Push(PushFrame),
    /// Asks for digests of what the neighbour holds.
    Digest(Arc<DigestRequest>),
}

/// The response of a neighbour.
#[derive(Clone, Debug)]
pub enum PeerResponse {
    /// To a greeting.
    Greet(GreetResponse),
    /// To a push.
    Push(PushResponse),
    /// To a request for digests.
    Digest(DigestResponse),
}

impl From<GreetResponse> for PeerResponse {
    fn from(response: GreetResponse) -> Self {
        Self::Greet(response)
    }
}

impl From<PushResponse> for PeerResponse {
    fn from(response: PushResponse) -> Self {
        Self::Push(response)
    }
}

impl From<DigestResponse> for PeerResponse {
    fn from(response: DigestResponse) -> Self {
        Self::Digest(response)
    }
}

/// Why a call failed, all its attempts included.
#[derive(Debug)]
pub enum CallError {
    /// The neighbour rejected it, with this status.
    Rejected(Status),
    /// There was no response, or not in time, or the connection broke. The neighbour
    /// may have applied the request.
    NoResponse(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(status) => write!(f, "rejected: {}", status.message()),
            Self::NoResponse(cause) => f.write_str(cause),
        }
    }
}

impl Error for CallError {}

/// Calls one neighbour.
pub type Caller = BoxCloneSyncService<PeerRequest, PeerResponse, CallError>;

/// Puts the stack on top of `inner`, which makes one attempt of a call.
pub fn stack<S>(settings: &PeerSettings, inner: S) -> Caller
where
    S: Service<PeerRequest, Response = PeerResponse, Error = Status>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let stack = ServiceBuilder::new()
        .map_err(CallError::from)
        .timeout(settings.attempt * 3 / 2)
        .retry(QuickRetries::new(settings.retries))
        .timeout(settings.attempt)
        .service(inner);
    BoxCloneSyncService::new(stack)
}

/// Retries a few times, and soon, what may succeed then.
#[derive(Clone)]
struct QuickRetries {
    left: u32,
    delays: ExponentialBackoff,
    budget: Arc<TpsBudget>,
}

impl QuickRetries {
    fn new(retries: u32) -> Self {
        let delays =
            ExponentialBackoffMaker::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY, 0.5, Default::default());
        Self {
            left: retries,
            delays: delays.expect("the delays are in order").make_backoff(),
            budget: Arc::new(TpsBudget::new(
                BUDGET_TTL,
                RETRIES_PER_SECOND,
                RETRIES_PER_CALL,
            )),
        }
    }
}

impl Policy<PeerRequest, PeerResponse, BoxError> for QuickRetries {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        _: &mut PeerRequest,
        result: &mut Result<PeerResponse, BoxError>,
    ) -> Option<Self::Future> {
        match result {
            Ok(_) => {
                self.budget.deposit();
                None
            }
            Err(error) if self.left > 0 && is_transient(error) && self.budget.withdraw() => {
                self.left -= 1;
                Some(self.delays.next_backoff())
            }
            Err(_) => None,
        }
    }

    fn clone_request(&mut self, call: &PeerRequest) -> Option<PeerRequest> {
        Some(call.clone())
    }
}

/// Returns true if the next attempt may succeed. The stack's own time limits appear as
/// tower's error; those of the neighbour, and a broken stream, as a status.
fn is_transient(error: &BoxError) -> bool {
    let is_transient_status = |status: &Status| {
        matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted
        )
    };
    error.is::<Elapsed>() || error.downcast_ref().is_some_and(is_transient_status)
}

impl From<BoxError> for CallError {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Status>() {
            Ok(status) if is_rejection(&status) => Self::Rejected(*status),
            Ok(status) => Self::NoResponse(cause_of(&status)),
            Err(error) if error.is::<Elapsed>() => {
                Self::NoResponse("no response within the time limit".to_owned())
            }
            Err(error) => Self::NoResponse(error.to_string()),
        }
    }
}

/// Returns true if the called server rejected the call. A status that was made of an error
/// of the connection has that error as its source.
pub(super) fn is_rejection(status: &Status) -> bool {
    let is_of_server = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::Unimplemented
    );
    is_of_server && status.source().is_none()
}

/// Returns a message for the cause: "connection refused" says more than "transport error".
pub(super) fn cause_of(status: &Status) -> String {
    match status.source() {
        Some(source) => cause::message(source),
        None => status.message().to_owned(),
    }
}
