//! A fake neighbour that records the calls of a link.

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

/// The response of a fake neighbour to a call.
#[derive(Clone)]
pub enum ResponseMode {
    /// Accepts it, as a server does.
    Accept,
    /// Accepts it after this delay.
    AcceptAfter(Duration),
    /// Accepts it after this delay for each of its reports.
    AcceptEachAfter(Duration),
    /// Never responds.
    Hang,
    /// Accepts a push of at most so many bytes, and never responds to a larger one.
    HangAbove(usize),
    /// Rejects it.
    Reject(Status),
}

/// A received push, with the time and the size of its message.
#[derive(Clone)]
pub struct ReceivedPush {
    pub at: Instant,
    pub bytes: usize,
    pub push: PushRequest,
    /// False while it is not acknowledged, and if it never is.
    pub is_acknowledged: bool,
}

/// A gRPC server in the test process that claims to be a server of the herd.
pub struct FakeNeighbour {
    address: SocketAddr,
    state: Arc<NeighbourState>,
    // Its tasks end with it.
    _runtime: Runtime,
}

struct NeighbourState {
    incarnation: AtomicU64,
    /// The response to a greeting, except the incarnation and the sequence number.
    answer: Mutex<GreetResponse>,
    greeting_mode: Mutex<ResponseMode>,
    push_mode: Mutex<ResponseMode>,
    greetings: Mutex<Vec<(Instant, GreetRequest)>>,
    pushes: Mutex<Vec<ReceivedPush>>,
    /// The applied sequence number of each incarnation of the caller.
    applied: Mutex<HashMap<u64, u64>>,
}

impl FakeNeighbour {
    pub fn start(name: &str) -> Self {
        Self::start_at(name, "127.0.0.1:0".parse().unwrap())
    }

    pub fn start_at(name: &str, address: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(NeighbourState {
            incarnation: AtomicU64::new(1),
            answer: Mutex::new(GreetResponse {
                herd: "test".to_owned(),
                receiver: name.to_owned(),
                version_major: 2,
                ..GreetResponse::default()
            }),
            greeting_mode: Mutex::new(ResponseMode::Accept),
            push_mode: Mutex::new(ResponseMode::Accept),
            greetings: Mutex::default(),
            pushes: Mutex::default(),
            applied: Mutex::default(),
        });
        let incoming = runtime
            .block_on(async { TcpIncoming::bind(address).unwrap().with_nodelay(Some(true)) });
        let address = incoming.local_addr().unwrap();
        let service = PropagateServer::new(Service(state.clone()));
        runtime.spawn(
            Server::builder()
                .initial_stream_window_size(2 << 20)
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Self {
            address,
            state,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn incarnation(&self) -> u64 {
        self.state.incarnation.load(Relaxed)
    }

    /// Begins a new incarnation, which has applied nothing. Connections stay open.
    pub fn restart(&self) {
        self.state.applied.lock().unwrap().clear();
        self.state.incarnation.fetch_add(1, Relaxed);
    }

    pub fn answer_greetings_with(&self, change: impl FnOnce(&mut GreetResponse)) {
        change(&mut self.state.answer.lock().unwrap());
    }

    pub fn respond_to_greetings(&self, mode: ResponseMode) {
        *self.state.greeting_mode.lock().unwrap() = mode;
    }

    pub fn respond_to_pushes(&self, mode: ResponseMode) {
        *self.state.push_mode.lock().unwrap() = mode;
    }

    pub fn greetings(&self) -> Vec<(Instant, GreetRequest)> {
        self.state.greetings.lock().unwrap().clone()
    }

    /// Returns all received pushes, with the rejected ones.
    pub fn pushes(&self) -> Vec<ReceivedPush> {
        self.state.pushes.lock().unwrap().clone()
    }

    /// Returns the clients of all received reports, in order.
    pub fn clients(&self) -> Vec<String> {
        let pushes = self.state.pushes.lock().unwrap();
        let reports = pushes.iter().flat_map(|pushed| &pushed.push.reports);
        reports.map(|report| report.client.clone()).collect()
    }
}

async fn respond(mode: ResponseMode, reports: usize, bytes: usize) -> Result<(), Status> {
    match mode {
        ResponseMode::Accept => Ok(()),
        ResponseMode::AcceptAfter(delay) => {
            tokio::time::sleep(delay).await;
            Ok(())
        }
        ResponseMode::AcceptEachAfter(delay) => {
            tokio::time::sleep(delay * reports as u32).await;
            Ok(())
        }
        ResponseMode::HangAbove(ceiling) if bytes <= ceiling => Ok(()),
        ResponseMode::Hang | ResponseMode::HangAbove(_) => std::future::pending().await,
        ResponseMode::Reject(status) => Err(status),
    }
}

impl NeighbourState {
    async fn receive(&self, frame: PushFrame) -> Result<PushResponse, Status> {
        let bytes = frame.0.len();
        let pushed = ReceivedPush {
            at: Instant::now(),
            bytes,
            push: PushRequest::decode(frame.0).expect("links send whole messages"),
            is_acknowledged: false,
        };
        let push = pushed.push.clone();
        let number = {
            let mut pushes = self.pushes.lock().unwrap();
            pushes.push(pushed);
            pushes.len() - 1
        };
        let mode = self.push_mode.lock().unwrap().clone();
        respond(mode, push.reports.len(), bytes).await?;
        let response = self.apply(&push)?;
        self.pushes.lock().unwrap()[number].is_acknowledged = true;
        Ok(response)
    }

    fn apply(&self, push: &PushRequest) -> Result<PushResponse, Status> {
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
            ..PushResponse::default()
        })
    }
}

struct Service(Arc<NeighbourState>);

#[tonic::async_trait]
impl Propagate for Service {
    type PushStream = Pin<Box<dyn Stream<Item = Result<PushResponse, Status>> + Send>>;

    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Status> {
        let state = &self.0;
        let request = request.into_inner();
        let incarnation = request.sender_incarnation;
        state
            .greetings
            .lock()
            .unwrap()
            .push((Instant::now(), request));
        let mode = state.greeting_mode.lock().unwrap().clone();
        respond(mode, 0, 0).await?;
        let applied = state.applied.lock().unwrap().get(&incarnation).copied();
        let mut answer = state.answer.lock().unwrap().clone();
        answer.receiver_incarnation = state.incarnation.load(Relaxed);
        answer.applied_sequence = applied.unwrap_or(0);
        Ok(Response::new(answer))
    }

    async fn push(
        &self,
        request: Request<Streaming<PushFrame>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let state = self.0.clone();
        let responses = request.into_inner().then(move |frame| {
            let state = state.clone();
            async move { state.receive(frame?).await }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}
