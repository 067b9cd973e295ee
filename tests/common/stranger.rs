//! Whoever calls a server's peer port, well-behaved or not.

use std::net::SocketAddr;
use std::time::Duration;

use proxyherd::proto::propagate_client::PropagateClient;
use proxyherd::proto::{GreetRequest, GreetResponse, PushFrame, Report};
use tokio::runtime::{Builder, Runtime};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

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

    pub fn push_frame(&self, frame: PushFrame) -> Result<u64, Status> {
        let mut client = PropagateClient::new(self.channel.clone());
        let answer = self.run(client.push(frame));
        answer.map(|answer| answer.into_inner().applied_sequence)
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
            version_major: 1,
            version_minor: 0,
            herd: "test".to_owned(),
            sender: self.sender.clone(),
            sender_incarnation: self.incarnation,
            receiver: self.receiver.clone(),
        }
    }

    /// Greets, and gives the number that is applied.
    pub fn greet(&mut self, through: &Stranger) -> u64 {
        let answer = through.greet(&self.greeting()).unwrap();
        assert_eq!((&*answer.herd, &answer.receiver), ("test", &self.receiver));
        assert_eq!((answer.version_major, answer.version_minor), (1, 0));
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
