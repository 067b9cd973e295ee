//! The tower stack that every call to a neighbour goes through.
//!
//! From the outside in: a time limit on the whole call; a few quick retries,
//! with exponential backoff and jitter, under a budget; a time limit on each
//! attempt; the call itself. That covers hiccups. Outages are the link's own
//! affair, which tries again at a slower pace for as long as they last.
//!
//! Retry wraps our own [`PeerRequest`]s, which are cheap to clone, and not HTTP
//! requests, whose bodies are not.

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

use crate::proto::{GreetRequest, GreetResponse, PushFrame, PushResponse};

use super::PeerSettings;

/// The pauses before quick retries: short, since they are for hiccups.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A link may spend this many retries a second, and this share of its calls
/// besides: enough for hiccups, and no storm when a neighbour is in trouble.
const RETRIES_PER_SECOND: u32 = 5;
const RETRIED_SHARE: f32 = 0.2;

/// How long unspent retries count.
const BUDGET_MEMORY: Duration = Duration::from_secs(10);

/// A request to a neighbour. Cheap to clone.
#[derive(Clone, Debug)]
pub enum PeerRequest {
    /// Begins a link.
    Greet(Arc<GreetRequest>),
    /// Transfers a batch.
    Push(PushFrame),
}

/// The response of a neighbour.
#[derive(Clone, Debug)]
pub enum PeerResponse {
    /// To a greeting.
    Greet(GreetResponse),
    /// To a push.
    Push(PushResponse),
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

/// Puts the stack on top of `inner`, which makes one attempt of a call and
/// fails with a [`Status`].
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

/// Retries what may pass by itself, a few times and soon.
#[derive(Clone)]
struct QuickRetries {
    left: u32,
    pauses: ExponentialBackoff,
    budget: Arc<TpsBudget>,
}

impl QuickRetries {
    fn new(retries: u32) -> Self {
        let pauses =
            ExponentialBackoffMaker::new(FIRST_PAUSE, LONGEST_PAUSE, 0.5, Default::default());
        Self {
            left: retries,
            pauses: pauses.expect("the pauses are in order").make_backoff(),
            budget: Arc::new(TpsBudget::new(
                BUDGET_MEMORY,
                RETRIES_PER_SECOND,
                RETRIED_SHARE,
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
            Err(error) if self.left > 0 && may_pass(error) && self.budget.withdraw() => {
                self.left -= 1;
                Some(self.pauses.next_backoff())
            }
            Err(_) => None,
        }
    }

    fn clone_request(&mut self, call: &PeerRequest) -> Option<PeerRequest> {
        Some(call.clone())
    }
}

/// May this pass by itself? Time limits appear as tower's own error; those of
/// the neighbour, and a connection that broke, as a status.
fn may_pass(error: &BoxError) -> bool {
    let of_status = |status: &Status| {
        matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted
        )
    };
    error.is::<Elapsed>() || error.downcast_ref().is_some_and(of_status)
}

impl From<BoxError> for CallError {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Status>() {
            Ok(status) if is_refusal(&status) => Self::Rejected(*status),
            Ok(status) => Self::NoResponse(cause_of(&status)),
            Err(error) if error.is::<Elapsed>() => {
                Self::NoResponse("no response within the time limit".to_owned())
            }
            Err(error) => Self::NoResponse(error.to_string()),
        }
    }
}

/// Did the server that was called decide this, rather than something on the way
/// to it? What was made of an error of HTTP/2 has that as its source.
pub(super) fn is_refusal(status: &Status) -> bool {
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

/// The innermost cause: "connection refused" tells more than "transport error".
pub(super) fn cause_of(status: &Status) -> String {
    let mut source = status.source();
    let mut deepest = status.message().to_owned();
    while let Some(error) = source {
        deepest = error.to_string();
        source = error.source();
    }
    deepest
}
