//! One HTTP/2 connection to a neighbour, below tonic's generated client.
//!
//! It is dialled when it is first needed, and again whenever it was lost. What
//! tonic's own channel does for many callers costs a call two writes, so that
//! its receiver wakes twice, and six tasks that wake each other. A link makes one
//! call at a time, and every report crosses several links: here a call leaves in
//! one write, and wakes the task of its connection and then the link again.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use humantime::format_duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::metrics::AtomicInstant;

use super::served;

/// Largest head of an answer, in bytes.
const MAX_HEAD: u32 = 16 * 1024;

/// What a status says besides its words. Nobody here reads it, and tonic panics
/// where it is not what it should be.
const DETAILS: &str = "grpc-status-details-bin";

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("proxyherd/", env!("CARGO_PKG_VERSION")));

/// What a connection runs over.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// A connection being made.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

/// The waits of a connection, each with its limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of making it.
    pub(super) connect: Duration,
    /// Of the silence before a ping,
    pub(super) keep_alive: Duration,
    /// and of the answer to that.
    pub(super) keep_alive_timeout: Duration,
}

/// A connection to one server, whoever holds a clone of this.
#[derive(Clone)]
pub(super) struct Channel(Arc<Shared>);

struct Shared {
    connect: Box<dyn Fn() -> Connecting + Send + Sync>,
    limits: Limits,
    /// Of the latest connection. Held for a look, never across an await.
    state: Mutex<watch::Receiver<State>>,
}

/// How a connection is.
#[derive(Clone)]
enum State {
    Dialling,
    /// With when it was heard last.
    Open(SendRequest<Bytes>, Arc<AtomicInstant>),
    /// It was lost, or never came about, for this reason.
    Over(String),
}

impl Channel {
    /// A channel that `connect` makes connections for, none of them yet.
    pub(super) fn new(
        connect: impl Fn() -> Connecting + Send + Sync + 'static,
        limits: Limits,
    ) -> Self {
        let (_, never) = watch::channel(State::Over("not yet dialled".to_owned()));
        Self(Arc::new(Shared {
            connect: Box::new(connect),
            limits,
            state: Mutex::new(never),
        }))
    }

    /// The connection that there is, or a new one. It is made by a task of its
    /// own: a call that is given up does not give up the dial, which the next
    /// call finds further on.
    fn connection(&self) -> watch::Receiver<State> {
        let shared = &self.0;
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = matches!(*state.borrow(), State::Over(_)) || state.has_changed().is_err();
        if is_over {
            let (writer, fresh) = watch::channel(State::Dialling);
            tokio::spawn(keep((shared.connect)(), shared.limits, writer));
            *state = fresh;
        }
        state.clone()
    }

    /// Sends a request and gives its answer as it begins.
    pub(super) async fn exchange(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Answer>, Status> {
        let mut connection = self.connection();
        let (sender, heard) = opened(&mut connection).await?;
        match send(sender, request).await {
            Ok(mut answer) => {
                heard.set(Instant::now());
                answer.headers_mut().remove(DETAILS);
                Ok(answer.map(Answer))
            }
            Err(error) => Err(explain(error, &connection)),
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            channel.exchange(Request::from_parts(head, body)).await
        })
    }
}

async fn opened(
    connection: &mut watch::Receiver<State>,
) -> Result<(SendRequest<Bytes>, Arc<AtomicInstant>), Status> {
    let state = connection.wait_for(|state| !matches!(state, State::Dialling));
    match state.await.as_deref() {
        Ok(State::Open(sender, heard)) => Ok((sender.clone(), heard.clone())),
        Ok(State::Over(cause)) => Err(Status::unavailable(cause.clone())),
        Ok(State::Dialling) | Err(_) => Err(Status::unavailable("its connection has ended")),
    }
}

/// Sends a request and waits for the head of its answer. Between the head of the
/// request and its body nothing is awaited, so that both leave together.
async fn send(
    sender: SendRequest<Bytes>,
    request: Request<Bytes>,
) -> Result<Response<RecvStream>, h2::Error> {
    let (mut head, body) = request.into_parts();
    head.headers.insert(USER_AGENT, AGENT);
    let mut sender = sender.ready().await?;
    let (answer, mut stream) = sender.send_request(Request::from_parts(head, ()), false)?;
    stream.send_data(body, true)?;
    answer.await
}

/// Why a call failed: for what the connection ended, if it did.
fn explain(error: h2::Error, connection: &watch::Receiver<State>) -> Status {
    match &*connection.borrow() {
        State::Over(cause) => Status::unknown(cause.clone()),
        _ => Status::from_error(Box::new(error)),
    }
}

/// The life of a connection. It ends when nobody has a use for it any more.
async fn keep(connecting: Connecting, limits: Limits, state: watch::Sender<State>) {
    tokio::select! {
        cause = live(connecting, limits, &state) => drop(state.send_replace(State::Over(cause))),
        () = state.closed() => {}
    }
}

/// Makes a connection and drives it until it is lost. Gives the reason.
async fn live(connecting: Connecting, limits: Limits, state: &watch::Sender<State>) -> String {
    let stream = match timeout(limits.connect, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return error.to_string(),
        Err(_) => return format!("no connection within {}", format_duration(limits.connect)),
    };
    let (sender, mut connection) = match builder().handshake(stream).await {
        Ok(made) => made,
        Err(error) => return error.to_string(),
    };
    let pings = connection.ping_pong().expect("they are taken once");
    let heard = Arc::new(AtomicInstant::default());
    state.send_replace(State::Open(sender, heard.clone()));
    tokio::select! {
        ended = connection => match ended {
            Ok(()) => "it closed the connection".to_owned(),
            Err(error) => format!("the connection broke: {error}"),
        },
        () = silence(pings, limits, &heard) => format!(
            "it did not answer a ping within {}",
            format_duration(limits.keep_alive_timeout)
        ),
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(served::STREAM_WINDOW)
        .initial_connection_window_size(served::CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD);
    builder
}

/// Resolves when the other side went silent without closing: nothing was heard
/// for long, nor was a ping answered in time.
async fn silence(mut pings: PingPong, limits: Limits, heard: &AtomicInstant) {
    loop {
        let rest = limits.keep_alive.saturating_sub(heard.get().elapsed());
        if !rest.is_zero() {
            sleep(rest).await;
            continue;
        }
        match timeout(limits.keep_alive_timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => heard.set(Instant::now()),
            // The connection ends by itself.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// The body of an answer as it comes.
#[derive(Debug)]
pub(super) struct Answer(RecvStream);

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let stream = &mut self.0;
        if let Some(data) = ready!(stream.poll_data(context)) {
            let taken = data.and_then(|data| {
                stream.flow_control().release_capacity(data.len())?;
                Ok(Frame::data(data))
            });
            return Poll::Ready(Some(taken));
        }
        let trailers = ready!(stream.poll_trailers(context))?;
        Poll::Ready(trailers.map(|mut trailers| {
            trailers.remove(DETAILS);
            Ok(Frame::trailers(trailers))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
