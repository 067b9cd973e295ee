//! A neighbour that the test plays: it hears what a link says to it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message;
use proxyherd::proto::propagate_server::{Propagate, PropagateServer};
use proxyherd::proto::{GreetRequest, GreetResponse, PushFrame, PushResponse};
use tokio::runtime::{Builder, Runtime};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::PushRequest;

/// What a fake neighbour does with a call.
#[derive(Clone)]
pub enum Manner {
    /// Takes it, as a server would.
    Takes,
    /// Takes it after so long.
    TakesAfter(Duration),
    /// Takes it after so long for each report that it holds.
    TakesEachAfter(Duration),
    /// Never answers.
    Hangs,
    /// Refuses it.
    Refuses(Status),
}

/// A push that came, when, and how long its message was.
#[derive(Clone)]
pub struct Pushed {
    pub at: Instant,
    pub bytes: usize,
    pub push: PushRequest,
}

/// A gRPC server in the test that calls itself a server of the herd.
pub struct Fake {
    address: SocketAddr,
    ears: Arc<Ears>,
    // Its tasks end with it.
    _runtime: Runtime,
}

struct Ears {
    incarnation: AtomicU64,
    /// What it answers to a greeting, but for what it can not know.
    answer: Mutex<GreetResponse>,
    on_greeting: Mutex<Manner>,
    on_push: Mutex<Manner>,
    greetings: Mutex<Vec<(Instant, GreetRequest)>>,
    pushes: Mutex<Vec<Pushed>>,
    /// What it applied of each incarnation of its caller.
    applied: Mutex<HashMap<u64, u64>>,
}

impl Fake {
    pub fn start(name: &str) -> Self {
        Self::start_at(name, "127.0.0.1:0".parse().unwrap())
    }

    pub fn start_at(name: &str, address: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let ears = Arc::new(Ears {
            incarnation: AtomicU64::new(1),
            answer: Mutex::new(GreetResponse {
                herd: "test".to_owned(),
                receiver: name.to_owned(),
                version_major: 2,
                ..GreetResponse::default()
            }),
            on_greeting: Mutex::new(Manner::Takes),
            on_push: Mutex::new(Manner::Takes),
            greetings: Mutex::default(),
            pushes: Mutex::default(),
            applied: Mutex::default(),
        });
        let incoming = runtime
            .block_on(async { TcpIncoming::bind(address).unwrap().with_nodelay(Some(true)) });
        let address = incoming.local_addr().unwrap();
        let service = PropagateServer::new(Service(ears.clone()));
        runtime.spawn(
            Server::builder()
                .initial_stream_window_size(2 << 20)
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self {
            address,
            ears,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn incarnation(&self) -> u64 {
        self.ears.incarnation.load(Relaxed)
    }

    /// Begins a new life that knows nothing; connections stay.
    pub fn restart(&self) {
        self.ears.applied.lock().unwrap().clear();
        self.ears.incarnation.fetch_add(1, Relaxed);
    }

    pub fn answer_greetings_with(&self, change: impl FnOnce(&mut GreetResponse)) {
        change(&mut self.ears.answer.lock().unwrap());
    }

    pub fn on_greetings(&self, manner: Manner) {
        *self.ears.on_greeting.lock().unwrap() = manner;
    }

    pub fn on_pushes(&self, manner: Manner) {
        *self.ears.on_push.lock().unwrap() = manner;
    }

    pub fn greetings(&self) -> Vec<(Instant, GreetRequest)> {
        self.ears.greetings.lock().unwrap().clone()
    }

    /// All pushes that came, refused ones too.
    pub fn pushes(&self) -> Vec<Pushed> {
        self.ears.pushes.lock().unwrap().clone()
    }

    /// The clients of all reports that came in pushes, in order.
    pub fn clients(&self) -> Vec<String> {
        let pushes = self.ears.pushes.lock().unwrap();
        let reports = pushes.iter().flat_map(|pushed| &pushed.push.reports);
        reports.map(|report| report.client.clone()).collect()
    }
}

async fn behave(manner: Manner, reports: usize) -> Result<(), Status> {
    match manner {
        Manner::Takes => Ok(()),
        Manner::TakesAfter(pause) => {
            tokio::time::sleep(pause).await;
            Ok(())
        }
        Manner::TakesEachAfter(pause) => {
            tokio::time::sleep(pause * reports as u32).await;
            Ok(())
        }
        Manner::Hangs => std::future::pending().await,
        Manner::Refuses(status) => Err(status),
    }
}

impl Ears {
    async fn hear(&self, frame: PushFrame) -> Result<PushResponse, Status> {
        let bytes = frame.0;
        let pushed = Pushed {
            at: Instant::now(),
            bytes: bytes.len(),
            push: PushRequest::decode(bytes).expect("links send whole messages"),
        };
        let push = pushed.push.clone();
        self.pushes.lock().unwrap().push(pushed);
        let manner = self.on_push.lock().unwrap().clone();
        behave(manner, push.reports.len()).await?;
        self.take(&push)
    }

    fn take(&self, push: &PushRequest) -> Result<PushResponse, Status> {
        if push.receiver_incarnation != self.incarnation.load(Relaxed) {
            return Err(Status::failed_precondition("it has restarted"));
        }
        let mut all = self.applied.lock().unwrap();
        let applied = all.entry(push.sender_incarnation).or_default();
        if push.from_sequence > *applied {
            return Err(Status::failed_precondition("there is a gap"));
        }
        *applied = push.to_sequence.max(*applied);
        Ok(PushResponse {
            applied_sequence: *applied,
        })
    }
}

struct Service(Arc<Ears>);

#[tonic::async_trait]
impl Propagate for Service {
    type PushStream = Pin<Box<dyn Stream<Item = Result<PushResponse, Status>> + Send>>;

    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Status> {
        let ears = &self.0;
        let request = request.into_inner();
        let incarnation = request.sender_incarnation;
        ears.greetings
            .lock()
            .unwrap()
            .push((Instant::now(), request));
        let manner = ears.on_greeting.lock().unwrap().clone();
        behave(manner, 0).await?;
        let applied = ears.applied.lock().unwrap().get(&incarnation).copied();
        let mut answer = ears.answer.lock().unwrap().clone();
        answer.receiver_incarnation = ears.incarnation.load(Relaxed);
        answer.applied_sequence = applied.unwrap_or(0);
        Ok(Response::new(answer))
    }

    async fn push(
        &self,
        request: Request<Streaming<PushFrame>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let ears = self.0.clone();
        let responses = request.into_inner().then(move |frame| {
            let ears = ears.clone();
            async move { ears.hear(frame?).await }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}
