//! Whoever calls a server's peer port, well-behaved or not.

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
pub struct Stranger {
    pub channel: Channel,
    pub runtime: Runtime,
}

impl Stranger {
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

    /// Runs a call, and ends the test where it hangs.
    #[track_caller]
    pub fn run<T>(&self, call: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(LIMIT, call).await };
        self.runtime.block_on(limited).expect("an answer in time")
    }

    pub fn greet(&self, greeting: &GreetRequest) -> Result<GreetResponse, Status> {
        let mut client = PropagateClient::new(self.channel.clone());
        let answer = self.run(client.greet(greeting.clone()));
        answer.map(tonic::Response::into_inner)
    }

    /// Gives the number that was applied.
    pub fn push(&self, push: &PushRequest) -> Result<u64, Status> {
        self.push_frame(push.frame())
    }

    /// Sends bytes as the message of a call, whatever they are.
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

    /// A call whose caller never says a word of it, until the handle is aborted.
    /// Gives the status that the server ends it with.
    pub fn hold(&self, method: &str) -> JoinHandle<Status> {
        let mut client = Grpc::new(self.channel.clone());
        let path = format!("/proxyherd.v1.Propagate/{method}");
        self.runtime.spawn(async move {
            client.ready().await.unwrap();
            let codec = Codec::<PushFrame, PushFrame>::default();
            let nothing = Request::new(tokio_stream::pending());
            let path = path.parse().unwrap();
            let answer = client.client_streaming(nothing, path, codec).await;
            answer.expect_err("nothing was asked")
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

    /// Opens a stream with a push.
    pub fn stream(&self, push: &PushRequest) -> OpenStream<'_> {
        let mut client = PropagateClient::new(self.channel.clone());
        let (frames, requests) = mpsc::unbounded_channel();
        frames.send(push.frame()).unwrap();
        let requests = UnboundedReceiverStream::new(requests);
        let responses = self.run(client.push(requests)).unwrap().into_inner();
        let mut stream = OpenStream {
            frames,
            responses,
            stranger: self,
        };
        stream.response().unwrap();
        stream
    }
}

/// A push stream that stays open.
pub struct OpenStream<'a> {
    frames: mpsc::UnboundedSender<PushFrame>,
    responses: Streaming<PushResponse>,
    stranger: &'a Stranger,
}

impl OpenStream<'_> {
    /// Pushes, and returns the number that was applied.
    pub fn push(&mut self, push: &PushRequest) -> Result<u64, Status> {
        self.send(push);
        self.response()
    }

    pub fn send(&self, push: &PushRequest) {
        // Fails only if the stream has ended, which its response tells.
        let _ = self.frames.send(push.frame());
    }

    /// Waits for the next acknowledgement, or the status that ends the stream.
    pub fn response(&mut self) -> Result<u64, Status> {
        let response = self.stranger.run(self.responses.message())?;
        let response = response.ok_or_else(|| Status::ok("the stream has ended"))?;
        Ok(response.applied_sequence)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let other = Builder::new_current_thread().build().unwrap();
        let runtime = std::mem::replace(&mut self.runtime, other);
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// One life of a neighbour that the test plays: what it says to a server.
#[derive(Clone)]
pub struct Life {
    pub sender: String,
    pub incarnation: u64,
    pub receiver: String,
    /// The receiver's, once it was greeted.
    pub receiver_incarnation: u64,
}

impl Life {
    pub fn new(sender: &str, incarnation: u64, receiver: &str) -> Self {
        Self {
            sender: sender.to_owned(),
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
            sender: self.sender.clone(),
            sender_incarnation: self.incarnation,
            receiver: self.receiver.clone(),
            expire_after_nanos: 0,
        }
    }

    /// Greets, and gives the number that is applied.
    pub fn greet(&mut self, through: &Stranger) -> u64 {
        let answer = through.greet(&self.greeting()).unwrap();
        assert_eq!((&*answer.herd, &answer.receiver), ("test", &self.receiver));
        assert_eq!((answer.version_major, answer.version_minor), (2, 0));
        assert_ne!(answer.receiver_incarnation, 0);
        self.receiver_incarnation = answer.receiver_incarnation;
        answer.applied_sequence
    }

    pub fn push(&self, from: u64, to: u64, reports: Vec<Report>) -> PushRequest {
        PushRequest {
            herd: "test".to_owned(),
            sender: self.sender.clone(),
            sender_incarnation: self.incarnation,
            receiver_incarnation: self.receiver_incarnation,
            from_sequence: from,
            to_sequence: to,
            reports,
            padding: Vec::new(),
        }
    }
}
