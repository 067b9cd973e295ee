//! One call to a provider by HTTP: what bounds it, and what is tried again.
//!
//! [`stack`] reads from top to bottom as a call goes. The habit is that of the links between servers: middleware is
//! tower's, and what is retried is our own value.
//!
//! There is no breaker and no memory of failures: the next call tries again. It is HTTP/1.1 on purpose: the library
//! for HTTP/2 prints whole requests at level `trace`, and with the old API the key is in the URL.

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

use super::base_url::BaseUrl;

/// The most calls of this process that are under way at a time; further ones wait. Higher: a burst of questions opens
/// more connections and meets the provider's limit sooner. Lower: slow answers hold up others; it is twice what one
/// client's connection may have waiting by default.
pub const MAX_CALLS: usize = 32;

/// The largest response that is read, in bytes. Twenty places of the new API with all their photos are about a tenth.
pub const MAX_BODY_BYTES: usize = 2 << 20;

/// The time between a failure and the second try: who refused just now refuses again at once.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A whole response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// Why there is no response. Its words name neither key nor URL.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection came about.
    Unreachable(String),
    /// The connection broke before the response was whole, or what came is no HTTP.
    Broken(String),
    /// The response is larger than [`MAX_BODY_BYTES`].
    TooLarge,
    /// The time limit passed.
    Late(Duration),
}

/// Makes calls. Clones share connections and limits.
#[derive(Clone)]
pub(super) struct Http {
    calls: BoxCloneSyncService<Request, Reply, BoxError>,
    limit: Duration,
}

impl Http {
    /// A maker of calls to one provider, each of which takes at most `limit`, all waiting included.
    ///
    /// Where the system has no roots of trust calls by https will fail, and a warning says so.
    ///
    /// # Errors
    ///
    /// No client can be made, in words.
    pub(super) fn new(base: &BaseUrl, limit: Duration) -> Result<Http, String> {
        let calls = stack(client(base)?, limit);
        Ok(Http { calls, limit })
    }

    /// Makes a call.
    pub(super) async fn call(&self, request: Request) -> Result<Reply, Failure> {
        let calls = self.calls.clone();
        calls
            .oneshot(request)
            .await
            .map_err(|error| match error.downcast::<Failure>() {
                Ok(failure) => *failure,
                Err(error) if error.is::<Elapsed>() => Failure::Late(self.limit),
                Err(error) => Failure::Broken(innermost(error.as_ref())),
            })
    }
}

/// The lower part of the way of a call.
type Calls = ConcurrencyLimit<Retry<OnceMore, Fetch>>;

/// The way of a call, from top to bottom.
fn stack(client: Client, limit: Duration) -> BoxCloneSyncService<Request, Reply, BoxError> {
    let stack = ServiceBuilder::new()
        // All that follows together takes no longer than this.
        .timeout(limit)
        // tower waits for a place before a call begins, and no time limit runs then: begin first, wait inside.
        .layer(layer_fn(|calls: Calls| {
            service_fn(move |request| calls.clone().oneshot(request))
        }))
        .concurrency_limit(MAX_CALLS)
        .retry(OnceMore::default())
        .service(Fetch(client));
    BoxCloneSyncService::new(stack)
}

/// A client that keeps connections alive, follows no redirect, asks for no compression, and takes the proxies that the
/// environment names. A proxy is elsewhere, and its loopback addresses are not ours: those are asked directly.
fn client(base: &BaseUrl) -> Result<Client, String> {
    // Only the first in a process counts, and it is the same for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("proxyherd/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never());
        match base.is_loopback() {
            true => builder.no_proxy(),
            false => builder,
        }
    };
    builder().build().or_else(|error| {
        let cause = innermost(&error);
        tracing::warn!(
            "places: calls by https will fail, since the system's roots of trust can not be read: {cause}; \
             install ca-certificates, or let SSL_CERT_FILE name them"
        );
        let without_roots = builder().tls_certs_only([]).build();
        without_roots.map_err(|error| innermost(&error))
    })
}

/// Sends a request and reads the whole response.
#[derive(Clone)]
struct Fetch(Client);

impl Service<Request> for Fetch {
    type Response = Reply;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let client = self.0.clone();
        Box::pin(fetch(client, request))
    }
}

async fn fetch(client: Client, request: Request) -> Result<Reply, Failure> {
    let mut response = client.execute(request).await.map_err(failure)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply {
        status: response.status(),
        body,
    })
}

fn failure(error: reqwest::Error) -> Failure {
    let cause = innermost(&error);
    match error.is_connect() {
        true => Failure::Unreachable(cause),
        false => Failure::Broken(cause),
    }
}

/// The words of the first cause. An error of reqwest itself names the URL, and with it the key; what lies below knows
/// of sockets and bytes only.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let Some(mut cause) = error.source() else {
        return "the request could not be made".to_owned();
    };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// One more try for what may pass by itself: nobody there, a connection that broke, an error of the server's own.
#[derive(Clone, Default)]
struct OnceMore {
    tried: bool,
}

impl Policy<Request, Reply, Failure> for OnceMore {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Request, result: &mut Result<Reply, Failure>) -> Option<Sleep> {
        let may_pass = match result {
            Ok(reply) => reply.status.is_server_error(),
            Err(Failure::Unreachable(_) | Failure::Broken(_)) => true,
            Err(Failure::TooLarge | Failure::Late(_)) => false,
        };
        let again = may_pass && !mem::replace(&mut self.tried, true);
        again.then(|| sleep(RETRY_PAUSE))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        request.try_clone()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(cause) => write!(f, "it could not be reached: {cause}"),
            Failure::Broken(cause) => write!(f, "the connection to it broke: {cause}"),
            Failure::TooLarge => write!(f, "its answer is larger than {MAX_BODY_BYTES} bytes"),
            Failure::Late(limit) => write!(f, "no answer within {limit:?}"),
        }
    }
}

impl Error for Failure {}
