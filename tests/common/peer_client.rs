//! Clients of a server's peer port: valid and invalid calls.

use std::net::SocketAddr;
use std::time::Duration;

use proxyherd::proto::propagate_client::PropagateClient;
use proxyherd::proto::{Codec, GreetRequest, GreetResponse, PushFrame, PushResponse, Report};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::{LIMIT, PushRequest};

/// A plain gRPC client of one server, with one connection.
pub struct PeerClient {
    pub channel: Channel,
    pub runtime: Runtime,
}

impl PeerClient {
    pub fn dial(address: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(async { endpoint.tcp_nodelay(true).connect_lazy() });
        Self { channel, runtime }
    }

    /// Runs a call. Panics if it takes longer than [`LIMIT`].
    #[track_caller]
    pub fn run<T>(&self, call: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(LIMIT, call).await };
        self.runtime.block_on(limited).expect("a response in time")
    }

    pub fn greet(&self, greeting: &GreetRequest) -> Result<GreetResponse, Status> {
        let mut client = PropagateClient::new(self.channel.clone());
        let answer = self.run(client.greet(greeting.clone()));
        answer.map(tonic::Response::into_inner)
    }

    /// Returns the applied sequence number.
    pub fn push(&self, push: &PushRequest) -> Result<u64, Status> {
        self.push_frame(push.frame())
    }

    /// Sends these bytes as the message of a call.
    pub fn send(&self, method: &str, bytes: &[u8]) -> Result<(), Status> {
        let mut client = Grpc::new(self.channel.clone());
        let path = format!("/proxyherd.v1.Propagate/{method}");
        let codec = Codec::<PushFrame, PushFrame>::default();
        let message = Request::new(PushFrame(bytes.to_vec().into()));
        self.run(async {
            client.ready().await.unwrap();
            client.unary(message, path.parse().unwrap(), codec).await
        })
        .map(|_| ())
    }

    /// Opens a call without a message, which ends when the handle is aborted. Returns the status
    /// with which the server ends it.
    pub fn hold(&self, method: &str) -> JoinHandle<Status> {
        let mut client = Grpc::new(self.channel.clone());
        let path = format!("/proxyherd.v1.Propagate/{method}");
        self.runtime.spawn(async move {
            client.ready().await.unwrap();
            let codec = Codec::<PushFrame, PushFrame>::default();
            let nothing = Request::new(tokio_stream::pending());
            let path = path.parse().unwrap();
            let answer = client.client_streaming(nothing, path, codec).await;
            answer.expect_err("no request was sent")
        })
    }

    pub fn push_frame(&self, frame: PushFrame) -> Result<u64, Status> {
        let mut client = PropagateClient::new(self.channel.clone());
        self.run(async {
            let responses = client.push(tokio_stream::once(frame)).await?;
            let response = responses.into_inner().message().await?;
            Ok(response.expect("an acknowledgement").applied_sequence)
        })
    }

    /// Opens a stream with a first push.
    pub fn stream(&self, push: &PushRequest) -> OpenStream<'_> {
        let mut client = PropagateClient::new(self.channel.clone());
        let (frames, requests) = mpsc::unbounded_channel();
        frames.send(push.frame()).unwrap();
        let requests = UnboundedReceiverStream::new(requests);
        let responses = self.run(client.push(requests)).unwrap().into_inner();
        let mut stream = OpenStream {
            frames,
            responses,
            caller: self,
        };
        stream.response().unwrap();
        stream
    }
}

/// A push stream that stays open.
pub struct OpenStream<'a> {
    frames: mpsc::UnboundedSender<PushFrame>,
    responses: Streaming<PushResponse>,
    caller: &'a PeerClient,
}

impl OpenStream<'_> {
    /// Pushes, and returns the applied sequence number.
    pub fn push(&mut self, push: &PushRequest) -> Result<u64, Status> {
        self.send(push);
        self.response()
    }

    pub fn send(&self, push: &PushRequest) {
        // Fails only if the stream has ended. Then `response` returns the status.
        let _ = self.frames.send(push.frame());
    }

    /// Waits for the next acknowledgement, or for the status that ends the stream.
    pub fn response(&mut self) -> Result<u64, Status> {
        let response = self.caller.run(self.responses.message())?;
        let response = response.ok_or_else(|| Status::ok("the stream has ended"))?;
        Ok(response.applied_sequence)
    }
}

impl Drop for PeerClient {
    fn drop(&mut self) {
        let other = Builder::new_current_thread().build().unwrap();
        let runtime = std::mem::replace(&mut self.runtime, other);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// One incarnation of a fake neighbour, as a sender to one server.
#[derive(Clone)]
pub struct FakeSender {
    pub name: String,
    pub incarnation: u64,
    pub receiver: String,
    /// The receiver's incarnation, or 0 before a greeting.
    pub receiver_incarnation: u64,
}

impl FakeSender {
    pub fn new(name: &str, incarnation: u64, receiver: &str) -> Self {
        Self {
            name: name.to_owned(),
            incarnation,
            receiver: receiver.to_owned(),
            receiver_incarnation: 0,
        }
    }

    pub fn greeting(&self) -> GreetRequest {
        GreetRequest {
            version_major: 2,
            version_minor: 0,
            herd: "test".to_owned(),
            sender: self.name.clone(),
            sender_incarnation: self.incarnation,
            receiver: self.receiver.clone(),
            expire_after_nanos: 0,
            acknowledged: None,
        }
    }

    /// Greets, and returns the applied sequence number.
    pub fn greet(&mut self, through: &PeerClient) -> u64 {
        let answer = through.greet(&self.greeting()).unwrap();
        assert_eq!((&*answer.herd, &answer.receiver), ("test", &self.receiver));
        assert_eq!((answer.version_major, answer.version_minor), (2, 2));
        assert_ne!(answer.receiver_incarnation, 0);
        self.receiver_incarnation = answer.receiver_incarnation;
        answer.applied_sequence
    }

    pub fn push(&self, from: u64, to: u64, reports: Vec<Report>) -> PushRequest {
        PushRequest {
            herd: "test".to_owned(),
            sender: self.name.clone(),
            sender_incarnation: self.incarnation,
            receiver_incarnation: self.receiver_incarnation,
            from_sequence: from,
            to_sequence: to,
            reports,
            padding: Vec::new(),
        }
    }
}
