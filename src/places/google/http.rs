//! One HTTP call to a provider: its limits and its retries.
//!
//! [`stack`] lists the layers in the order in which a call passes them. It follows the pattern of
//! the links between servers: the middleware is tower's, and the request that is retried is our own
//! value.
//!
//! There is no circuit breaker and no memory of failures: the next call tries again. HTTP/1.1 is
//! deliberate: the library for HTTP/2 prints whole requests at level `trace`, and with the legacy
//! API the key is in the URL.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use reqwest::redirect;
use reqwest::{Client, Request, StatusCode};
use tokio::time::{Sleep, sleep};
use tower::layer::layer_fn;
use tower::limit::ConcurrencyLimit;
use tower::retry::{Policy, Retry};
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::cause;

use super::base_url::BaseUrl;

/// The maximum number of calls of this process under way at a time; further ones wait. Higher: a
/// burst of queries opens more connections and reaches the rate limit of the provider sooner.
/// Lower: slow responses delay others. The value is twice the number of queries that one client
/// connection may have waiting by default.
pub const MAX_CALLS: usize = 32;

/// The maximum size of a response, in bytes. Twenty places of the new API with all their photos
/// need about a tenth. A hostile response takes up to 40 times its size when it is parsed.
pub const MAX_BODY_BYTES: usize = 2 << 20;

/// The delay between a failure and the retry: a server that just rejected a call rejects the
/// next one at once.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// A complete HTTP response.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// The reason why there is no response. Its message contains neither key nor URL.
#[derive(Debug)]
pub(super) enum HttpError {
    /// The connection could not be established.
    Unreachable(String),
    /// The connection broke before the response was complete, or the response is not HTTP.
    Broken(String),
    /// The response is larger than [`MAX_BODY_BYTES`].
    TooLarge,
    /// The time limit expired.
    TimedOut(Duration),
}

/// The HTTP client of a provider. Clones share connections and limits.
#[derive(Clone)]
pub(super) struct HttpClient {
    calls: BoxCloneSyncService<Request, HttpReply, BoxError>,
    limit: Duration,
}

impl HttpClient {
    /// Creates a client of one provider, whose calls take at most `limit` each, all waiting
    /// included.
    ///
    /// If the system has no trusted root certificates, calls by https fail, and a warning is
    /// logged.
    ///
    /// # Errors
    ///
    /// No client can be created; the message is the cause.
    pub(super) fn new(base: &BaseUrl, limit: Duration) -> Result<Self, String> {
        let calls = stack(client(base)?, limit);
        Ok(HttpClient { calls, limit })
    }

    /// Makes a call.
    pub(super) async fn call(&self, request: Request) -> Result<HttpReply, HttpError> {
        let calls = self.calls.clone();
        calls
            .oneshot(request)
            .await
            .map_err(|error| match error.downcast::<HttpError>() {
                Ok(failure) => *failure,
                Err(error) if error.is::<Elapsed>() => HttpError::TimedOut(self.limit),
                Err(error) => HttpError::Broken(innermost_cause(error.as_ref())),
            })
    }
}

/// The lower layers of a call.
type LimitedCalls = ConcurrencyLimit<Retry<RetryOnce, Fetch>>;

/// Builds the layers of a call, from top to bottom.
fn stack(client: Client, limit: Duration) -> BoxCloneSyncService<Request, HttpReply, BoxError> {
    let stack = ServiceBuilder::new()
        // The limit of all layers below together.
        .timeout(limit)
        // tower waits for a permit in `poll_ready`, before a call begins, when no time limit runs.
        // So the call begins first and waits inside.
        .layer(layer_fn(|calls: LimitedCalls| {
            service_fn(move |request| calls.clone().oneshot(request))
        }))
        .concurrency_limit(MAX_CALLS)
        .retry(RetryOnce::default())
        .service(Fetch(client));
    BoxCloneSyncService::new(stack)
}

/// Creates a client that keeps connections alive, follows no redirect, requests no compression, and
/// uses the proxies that the environment names. A proxy is remote, and its loopback addresses are
/// not ours: requests to loopback go directly.
fn client(base: &BaseUrl) -> Result<Client, String> {
    // Only the first call in a process takes effect, and every call installs the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("proxyherd/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never());
        if base.is_loopback() {
            builder.no_proxy()
        } else {
            builder
        }
    };
    builder().build().or_else(|error| {
        let cause = innermost_cause(&error);
        tracing::warn!(
            "places: calls by https will fail, since the system's trusted certificates cannot be \
             read: {cause}; install ca-certificates, or set SSL_CERT_FILE"
        );
        let without_roots = builder().tls_certs_only([]).build();
        without_roots.map_err(|error| innermost_cause(&error))
    })
}

/// Sends a request and reads the whole response.
#[derive(Clone)]
struct Fetch(Client);

impl Service<Request> for Fetch {
    type Response = HttpReply;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpReply, HttpError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let client = self.0.clone();
        Box::pin(fetch(client, request))
    }
}

async fn fetch(client: Client, request: Request) -> Result<HttpReply, HttpError> {
    let mut response = client.execute(request).await.map_err(http_error)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(http_error)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpReply {
        status: response.status(),
        body,
    })
}

fn http_error(error: reqwest::Error) -> HttpError {
    let cause = innermost_cause(&error);
    if error.is_connect() {
        HttpError::Unreachable(cause)
    } else {
        HttpError::Broken(cause)
    }
}

/// Returns the message of the innermost cause. An error of reqwest itself names the URL, and with
/// it the key. The causes below it concern only sockets and bytes.
fn innermost_cause(error: &(dyn Error + 'static)) -> String {
    error.source().map_or_else(
        || "the request could not be made".to_owned(),
        |source| cause::innermost(source).to_string(),
    )
}

/// One retry for temporary failures: an unreachable server, a broken connection, a server error.
#[derive(Clone, Default)]
struct RetryOnce {
    tried: bool,
}

impl Policy<Request, HttpReply, HttpError> for RetryOnce {
    type Future = Sleep;

    fn retry(
        &mut self,
        _: &mut Request,
        result: &mut Result<HttpReply, HttpError>,
    ) -> Option<Sleep> {
        let may_pass = match result {
            Ok(reply) => reply.status.is_server_error(),
            Err(HttpError::Unreachable(_) | HttpError::Broken(_)) => true,
            Err(HttpError::TooLarge | HttpError::TimedOut(_)) => false,
        };
        let again = may_pass && !mem::replace(&mut self.tried, true);
        again.then(|| sleep(RETRY_DELAY))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        request.try_clone()
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Unreachable(cause) => write!(f, "it could not be reached: {cause}"),
            HttpError::Broken(cause) => write!(f, "the connection to it broke: {cause}"),
            HttpError::TooLarge => write!(f, "its answer is larger than {MAX_BODY_BYTES} bytes"),
            HttpError::TimedOut(limit) => write!(f, "no answer within {limit:?}"),
        }
    }
}

impl Error for HttpError {}
