//! The connection to one neighbour: tonic's channel, and the push stream over it.
//!
//! An attempt of a push sends its batch into the stream that is open, or opens one,
//! and awaits the acknowledgement. It takes the stream out of the channel and puts it
//! back on success only, so a stream that broke or was too slow is dropped, and the
//! next attempt opens another.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use http::uri::InvalidUri;
use http::{Response, Uri};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tower::service_fn;
use tower::util::MapResponse;

use crate::lock::lock;
use crate::net::Dialer;
use crate::proto::operator_client::OperatorClient;
use crate::proto::propagate_client::PropagateClient;
use crate::proto::{
    DigestRequest, DigestResponse, GreetRequest, GreetResponse, PushFrame, PushResponse,
};
use crate::tls::ReloadEvents;

use super::PeerSettings;
use super::policy::{Caller, PeerRequest, cause_of, stack};
use crate::wire::MAX_PUSH_BYTES;

/// Maximum size of the headers of a response, in bytes.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// HTTP/2 window of a response and of a connection, in bytes: what a neighbour can
/// make this server buffer. Acknowledgements have a few bytes.
const RESPONSE_WINDOW_BYTES: u32 = 64 * 1024;

/// Maximum number of abandoned streams whose batch is still in this server's memory.
/// Beyond it the connection is closed, which frees them. Only a neighbour that answers
/// pings and reads nothing comes here.
const MAX_ABANDONED: usize = 8;

/// Details of a status. Nothing here reads them, and tonic's client panics if they
/// are not base64.
const STATUS_DETAILS: &str = "grpc-status-details-bin";

type ChannelService = MapResponse<Channel, fn(Response<Body>) -> Response<Body>>;

type Client = PropagateClient<ChannelService>;

/// Returns a caller for the server that `dialer` reaches: the tower stack over one connection at
/// a time. A dial that fails fails the calls, with its cause as their status. Must be called
/// within a runtime.
///
/// # Errors
///
/// As [`Dialer::origin`].
pub fn dial(dialer: Dialer, settings: &PeerSettings) -> Result<Caller, InvalidUri> {
    let channel = PeerChannel(Arc::new(ChannelShared::new(dialer, settings)?));
    let attempt = move |request: PeerRequest| {
        let channel = channel.clone();
        async move {
            match request {
                PeerRequest::Greet(request) => channel.greet(&request).await.map(Into::into),
                PeerRequest::Push(frame) => channel.push(frame).await.map(Into::into),
                PeerRequest::Digest(request) => channel.digest(&request).await.map(Into::into),
            }
        }
    };
    Ok(stack(settings, service_fn(attempt)))
}

/// One connection and one push stream at a time. Clones share both.
#[derive(Clone)]
struct PeerChannel(Arc<ChannelShared>);

struct ChannelShared {
    endpoint: Endpoint,
    dialer: Dialer,
    max_dial: Duration,
    /// Held for a few reads and writes, never across an await.
    state: Mutex<ChannelState>,
}

struct ChannelState {
    /// `None` without TLS.
    reloads: Option<ReloadEvents>,
    open: OpenChannel,
}

/// A channel of tonic, with all that goes when it is replaced.
struct OpenChannel {
    service: ChannelService,
    client: Client,
    /// The stream that the next push uses; `None` while a push uses it.
    stream: Option<OutgoingStream>,
    /// Streams that tonic still sends or receives on.
    sending: Vec<Weak<()>>,
    /// Closes the connection.
    _close: DropGuard,
}

/// An open stream of pushes.
struct OutgoingStream {
    frames: mpsc::Sender<PushFrame>,
    responses: Streaming<PushResponse>,
}

impl ChannelShared {
    fn new(dialer: Dialer, settings: &PeerSettings) -> Result<Self, InvalidUri> {
        // Of three round trips, two are for TLS.
        let max_dial = settings.attempt * if dialer.is_tls() { 2 } else { 1 };
        let agent = concat!("proxyherd/", env!("CARGO_PKG_VERSION"));
        let endpoint = Endpoint::from(dialer.origin()?)
            .user_agent(agent)
            .expect("the name of this program is a header value")
            .http2_keep_alive_interval(settings.keep_alive)
            .keep_alive_timeout(settings.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(RESPONSE_WINDOW_BYTES)
            .initial_connection_window_size(RESPONSE_WINDOW_BYTES);
        let reloads = dialer.reload_events();
        let open = open_channel(&endpoint, &dialer, max_dial);
        Ok(Self {
            endpoint,
            dialer,
            max_dial,
            state: Mutex::new(ChannelState { reloads, open }),
        })
    }

    fn state(&self) -> MutexGuard<'_, ChannelState> {
        lock(&self.state)
    }

    /// Takes the open stream, if there is one, and a client to open another.
    fn take(&self) -> (Client, Option<OutgoingStream>) {
        let mut state = self.current();
        (state.open.client.clone(), state.open.stream.take())
    }

    fn client(&self) -> Client {
        self.current().open.client.clone()
    }

    /// Replaces a channel that was opened with earlier credentials, or is stuck.
    fn current(&self) -> MutexGuard<'_, ChannelState> {
        let mut state = self.state();
        let ChannelState { reloads, open } = &mut *state;
        if reloads.as_mut().is_some_and(ReloadEvents::is_new) || open.is_stuck() {
            *open = open_channel(&self.endpoint, &self.dialer, self.max_dial);
        }
        state
    }
}

impl OpenChannel {
    fn is_stuck(&mut self) -> bool {
        self.sending.retain(|stream| stream.strong_count() > 0);
        self.sending.len() > MAX_ABANDONED
    }
}

impl PeerChannel {
    async fn greet(&self, request: &GreetRequest) -> Result<GreetResponse, Status> {
        let mut client = self.0.client();
        let response = client.greet(request.clone()).await?;
        Ok(response.into_inner())
    }

    async fn digest(&self, request: &DigestRequest) -> Result<DigestResponse, Status> {
        let service = self.0.current().open.service.clone();
        let client = OperatorClient::new(service);
        let mut client = client.max_decoding_message_size(MAX_PUSH_BYTES);
        let response = client.digest(request.clone()).await?;
        Ok(response.into_inner())
    }

    /// Makes one attempt of a push. May be dropped at any time: then its stream ends.
    async fn push(&self, frame: PushFrame) -> Result<PushResponse, Status> {
        let (client, stream) = self.0.take();
        let pushed = match stream.map(|stream| stream.send(frame.clone())) {
            Some(Some(stream)) => stream.response().await,
            Some(None) | None => self.open_stream(client, frame).await,
        };
        let (response, stream) = pushed.map_err(broken)?;
        self.0.state().open.stream = Some(stream);
        Ok(response)
    }

    /// Opens a stream with its first push, which is sent before the neighbour answers
    /// at all.
    async fn open_stream(
        &self,
        mut client: Client,
        frame: PushFrame,
    ) -> Result<(PushResponse, OutgoingStream), Status> {
        let (frames, requests) = mpsc::channel(1);
        let alive = Arc::new(());
        self.0.state().open.sending.push(Arc::downgrade(&alive));
        let requests = ReceiverStream::new(requests).map(move |frame| {
            let _until_dropped = &alive;
            frame
        });
        frames
            .try_send(frame)
            .map_err(|_| Status::internal("a new channel has no room"))?;
        let responses = client.push(requests).await?.into_inner();
        OutgoingStream { frames, responses }.response().await
    }
}

impl OutgoingStream {
    /// Sends a batch; `None` if the stream has ended meanwhile, or the neighbour
    /// acknowledged what was not sent.
    fn send(mut self, frame: PushFrame) -> Option<Self> {
        let is_idle = self.responses.message().now_or_never().is_none();
        let is_sent = is_idle && self.frames.try_send(frame).is_ok();
        is_sent.then_some(self)
    }

    /// Waits for the response to what was sent.
    async fn response(mut self) -> Result<(PushResponse, Self), Status> {
        match self.responses.message().await? {
            Some(response) => Ok((response, self)),
            None => Err(Status::unavailable("it closed the push stream")),
        }
    }
}

/// Opens a channel that dials at its first call, and again whenever its connection was
/// lost.
fn open_channel(endpoint: &Endpoint, dialer: &Dialer, max_dial: Duration) -> OpenChannel {
    let close = CancellationToken::new();
    let (dialer, closed) = (dialer.clone(), close.clone());
    let connector = service_fn(move |_: Uri| {
        let (dialer, closed) = (dialer.clone(), closed.clone());
        let closing = async move {
            closed.cancelled().await;
            "this server closed it".to_owned()
        };
        // A task of its own: an attempt that is given up does not stop the dial, and
        // the next attempt finds it further on.
        let connecting = async move { dialer.connect(max_dial, closing).await };
        let dialled = AbortOnDropHandle::new(tokio::spawn(connecting));
        async move { Ok::<_, io::Error>(TokioIo::new(dialled.await??)) }
    });
    let channel = endpoint.connect_with_connector_lazy(connector);
    let strip: fn(Response<Body>) -> Response<Body> = strip_details;
    let service = MapResponse::new(channel, strip);
    let client = PropagateClient::new(service.clone());
    OpenChannel {
        service,
        client: client.max_decoding_message_size(MAX_PUSH_BYTES),
        stream: None,
        sending: Vec::new(),
        _close: close.drop_guard(),
    }
}

/// A push is idempotent, so one whose stream or connection broke may be tried again,
/// whatever the error says.
fn broken(status: Status) -> Status {
    if status.source().is_none() {
        return status;
    }
    Status::unavailable(cause_of(&status))
}

/// Removes [`STATUS_DETAILS`] from a response, before tonic reads them.
fn strip_details(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().remove(STATUS_DETAILS);
    response.map(|body| {
        Body::new(body.map_frame(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                trailers.remove(STATUS_DETAILS);
            }
            frame
        }))
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::pin::Pin;

    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use tokio_stream::Stream;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::Server;
    use tonic::{Request, Response};

    use crate::model::address::Address;
    use crate::net::{Resolver, TcpDialer};
    use crate::proto::propagate_server::{Propagate, PropagateServer};

    use super::*;

    /// A neighbour that accepts streams and reads nothing of them.
    struct ReadsNothing;

    #[tonic::async_trait]
    impl Propagate for ReadsNothing {
        type PushStream = Pin<Box<dyn Stream<Item = Result<PushResponse, Status>> + Send>>;

        async fn greet(&self, _: Request<GreetRequest>) -> Result<Response<GreetResponse>, Status> {
            Err(Status::unimplemented("not in this test"))
        }

        async fn push(
            &self,
            request: Request<Streaming<PushFrame>>,
        ) -> Result<Response<Self::PushStream>, Status> {
            let unread = request.into_inner();
            let responses = tokio_stream::pending().map(move |never| {
                let _unread = &unread;
                never
            });
            Ok(Response::new(Box::pin(responses)))
        }
    }

    /// Starts such a neighbour. Returns its address.
    async fn reads_nothing() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .initial_stream_window_size(0)
            .add_service(PropagateServer::new(ReadsNothing))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        address
    }

    #[tokio::test]
    async fn a_neighbour_that_reads_nothing_holds_a_bounded_number_of_batches() {
        let address = reads_nothing().await;
        let tcp = TcpDialer::new(&Address::from(address), &Resolver::system());
        let shared = ChannelShared::new(Dialer::tcp(tcp), &PeerSettings::default());
        let channel = PeerChannel(Arc::new(shared.unwrap()));
        let mut opened = Vec::new();
        for _ in 0..4 * MAX_ABANDONED {
            let frame = PushFrame(vec![0; 100_000].into());
            let pushed = timeout(Duration::from_millis(50), channel.push(frame));
            pushed.await.map(|_| ()).unwrap_err();
            opened.extend(channel.0.state().open.sending.last().cloned());
        }
        let held = || opened.iter().filter(|s| s.strong_count() > 0).count();
        for _ in 0..3000 {
            if held() <= MAX_ABANDONED + 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} batches stay in memory", held());
    }
}
