//! A gRPC server between two servers that forwards their calls, some of them with faults.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use proxyherd::proto::propagate_client::PropagateClient;
use proxyherd::proto::propagate_server::{Propagate, PropagateServer};
use proxyherd::proto::{GreetRequest, GreetResponse, PushFrame, PushResponse};
use tokio::runtime::Handle;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::common::Random;

/// The delay of the second copy of a push.
const LATE: Duration = Duration::from_millis(50);

/// A gRPC server that forwards calls to another one.
pub(crate) struct Relay {
    address: SocketAddr,
    calls: Arc<Calls>,
}

struct Calls {
    to: PropagateClient<Channel>,
    random: Mutex<Random>,
    made: AtomicUsize,
    failed: AtomicUsize,
}

/// The fault of a call.
#[derive(Clone, Copy)]
enum Fate {
    Passes,
    /// The call arrives a second time, after later ones.
    ComesAgainLate,
    /// The call does not arrive.
    Fails,
    /// The call arrives, and its answer does not.
    LosesItsAnswer,
    /// The call ends as with a broken connection, which is not retried quickly.
    Breaks,
    Hangs,
}

impl Relay {
    /// A relay to the server at `to`.
    pub(crate) fn start(runtime: &Handle, to: SocketAddr, seed: u64) -> Self {
        let _within = runtime.enter();
        let endpoint = Endpoint::from_shared(format!("http://{to}")).unwrap();
        let calls = Arc::new(Calls {
            to: PropagateClient::new(endpoint.tcp_nodelay(true).connect_lazy()),
            random: Mutex::new(Random::new(seed)),
            made: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        });
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let incoming = TcpIncoming::bind(anywhere)
            .unwrap()
            .with_nodelay(Some(true));
        let address = incoming.local_addr().unwrap();
        let service = PropagateServer::new(Service(calls.clone()));
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self { address, calls }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of calls, and how many of them failed.
    pub(crate) fn calls(&self) -> (usize, usize) {
        (
            self.calls.made.load(Relaxed),
            self.calls.failed.load(Relaxed),
        )
    }
}

impl Calls {
    fn fate(&self) -> Fate {
        self.made.fetch_add(1, Relaxed);
        let fate = match self.random.lock().unwrap().below(100) {
            0..10 => Fate::Fails,
            10..20 => Fate::LosesItsAnswer,
            20..29 => Fate::Breaks,
            29 => Fate::Hangs,
            30..50 => Fate::ComesAgainLate,
            _ => return Fate::Passes,
        };
        let fails = !matches!(fate, Fate::ComesAgainLate);
        self.failed.fetch_add(usize::from(fails), Relaxed);
        fate
    }
}

/// Makes the call with its fault.
async fn suffer<T>(fate: Fate, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match fate {
        Fate::Passes | Fate::ComesAgainLate => call.await,
        Fate::Fails => Err(Status::unavailable("failed on the way there")),
        Fate::LosesItsAnswer => {
            call.await?;
            Err(Status::unavailable("failed on the way back"))
        }
        Fate::Breaks => Err(Status::internal("broken on the way")),
        Fate::Hangs => std::future::pending().await,
    }
}

impl Calls {
    async fn push(&self, frame: PushFrame) -> Result<PushResponse, Status> {
        let fate = self.fate();
        if let Fate::ComesAgainLate = fate {
            let (frame, to) = (frame.clone(), self.to.clone());
            tokio::spawn(async move {
                tokio::time::sleep(LATE).await;
                // It may be rejected by then: another incarnation may have been greeted.
                let _ = push(to, frame).await;
            });
        }
        suffer(fate, push(self.to.clone(), frame)).await
    }
}

/// Pushes over a stream of its own.
async fn push(mut to: PropagateClient<Channel>, frame: PushFrame) -> Result<PushResponse, Status> {
    let responses = to.push(tokio_stream::once(frame)).await?;
    let response = responses.into_inner().message().await?;
    response.ok_or_else(|| Status::unavailable("the stream has ended"))
}

struct Service(Arc<Calls>);

#[tonic::async_trait]
impl Propagate for Service {
    type PushStream = Pin<Box<dyn Stream<Item = Result<PushResponse, Status>> + Send>>;

    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Status> {
        let mut to = self.0.to.clone();
        suffer(self.0.fate(), to.greet(request.into_inner())).await
    }

    async fn push(
        &self,
        request: Request<Streaming<PushFrame>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let calls = self.0.clone();
        let responses = request.into_inner().then(move |frame| {
            let calls = calls.clone();
            async move { calls.push(frame?).await }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}
