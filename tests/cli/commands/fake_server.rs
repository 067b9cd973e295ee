//! Fake servers, which answer operators as a test sets them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use prost_types::{Duration, Timestamp};
use proxyherd::proto::operator_server::{Operator, OperatorServer};
use proxyherd::proto::watch_request::Start;
use proxyherd::proto::{
    Bucket, DigestRequest, DigestResponse, ExportRequest, GetStatusRequest, GetStatusResponse,
    HashRange, ImportRequest, ImportResponse, KnownReport, ListClientsRequest, ListClientsResponse,
    LocateRequest, LocateResponse, NearbyClient, NearbyRequest, NearbyResponse, PushFrame, Report,
    WatchRequest, WatchResponse,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::common::{Ended, Process, Site, eventually};

/// The reaction of a fake server to a call.
#[derive(Clone, Default)]
pub(crate) enum Behaviour {
    #[default]
    Answer,
    Hang,
    Reject(Status),
}

/// A change of a fake server.
pub(crate) type StateChange = Box<dyn FnMut(&mut FakeState) + Send>;

/// The reports, the behaviour and the received calls of a fake server.
#[derive(Default)]
pub(crate) struct FakeState {
    pub status: GetStatusResponse,
    pub reports: BTreeMap<String, KnownReport>,
    pub near: Vec<NearbyClient>,
    /// For all calls except GetStatus.
    pub behaviour: Behaviour,
    /// For GetStatus.
    pub status_behaviour: Behaviour,
    /// Number of rejected calls.
    pub rejected: usize,
    pub digests: Vec<DigestRequest>,
    /// The bucket of this client is unsettled.
    pub unsettled: Option<String>,
    pub nearbys: Vec<NearbyRequest>,
    pub watches: Vec<WatchRequest>,
    /// Applied after each Digest.
    pub after_digest: Option<StateChange>,
    watchers: Vec<UnboundedSender<Result<WatchResponse, Status>>>,
}

/// A fake server on a port of its own.
pub(crate) struct FakeServer {
    address: SocketAddr,
    state: Arc<Mutex<FakeState>>,
    runtime: Option<Runtime>,
}

struct Service(Arc<Mutex<FakeState>>);

impl FakeServer {
    /// Starts a server. Its incarnation is a hash of its name.
    pub(crate) fn start(name: &str) -> Self {
        let status = GetStatusResponse {
            name: name.to_owned(),
            herd: "test".to_owned(),
            version: "0.1.0".to_owned(),
            incarnation: hash(name, 7),
            uptime: Some(seconds(3725)),
            now: Some(at(1_700_000_000)),
            ..GetStatusResponse::default()
        };
        let state = FakeState {
            status,
            ..FakeState::default()
        };
        let state = Arc::new(Mutex::new(state));
        let (address, runtime) = serve(&state, "127.0.0.1:0".parse().unwrap());
        Self {
            address,
            state,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Reads or changes its state.
    pub(crate) fn state<T>(&self, change: impl FnOnce(&mut FakeState) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub(crate) fn hold(&self, known: KnownReport) {
        let client = known.report.as_ref().unwrap().client.clone();
        self.state(|state| state.reports.insert(client, known));
    }

    /// Sends a response to all watchers.
    pub(crate) fn send_to_watchers(&self, response: WatchResponse) {
        self.state(|state| {
            let send = |watcher: &UnboundedSender<_>| watcher.send(Ok(response.clone())).is_ok();
            state.watchers.retain(send);
        });
    }

    /// Waits for a number of Watch calls, and returns the last one.
    #[track_caller]
    pub(crate) fn await_watches(&self, count: usize) -> WatchRequest {
        eventually(&format!("watch {count} begins"), || {
            self.state(|state| state.watches.get(count - 1).cloned())
        })
    }

    /// Closes its connections and its port.
    pub(crate) fn stop(&mut self) {
        self.state(|state| state.watchers.clear());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }

    /// Listens again on its address.
    pub(crate) fn restart(&mut self) {
        let (_, runtime) = serve(&self.state, self.address);
        self.runtime = Some(runtime);
    }
}

fn serve(state: &Arc<Mutex<FakeState>>, address: SocketAddr) -> (SocketAddr, Runtime) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let bind = || runtime.block_on(async { TcpIncoming::bind(address).ok() });
    let incoming = eventually("the address is free", bind).with_nodelay(Some(true));
    let address = incoming.local_addr().unwrap();
    let service = OperatorServer::new(Service(state.clone()));
    let server = Server::builder().add_service(service);
    runtime.spawn(server.serve_with_incoming(incoming));
    (address, runtime)
}

/// Returns a site whose config names fake servers, without links.
pub(crate) fn herd(names: &[&str]) -> (Site, Vec<FakeServer>) {
    let site = Site::new((names, &[]), "");
    let fakes: Vec<FakeServer> = names.iter().map(|name| FakeServer::start(name)).collect();
    let mut config = site.config();
    for (server, fake) in site.servers().iter().zip(&fakes) {
        let old = format!("peers = \"127.0.0.1:{}\"", server.peers);
        config = config.replace(&old, &format!("peers = \"{}\"", fake.address()));
    }
    site.set_config(&config);
    (site, fakes)
}

/// Runs a command, and checks its exit code.
#[track_caller]
pub(crate) fn run(site: &Site, arguments: &[&str], code: i32) -> Ended {
    let ended = Process::run(&mut site.command(arguments));
    assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
    ended
}

/// Runs a command with `--json`, and checks its exit code.
#[track_caller]
pub(crate) fn run_json(site: &Site, arguments: &[&str], code: i32) -> serde_json::Value {
    let ended = run(site, &[arguments, &["--json"]].concat(), code);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

pub(crate) fn held_report(client: &str, position: &str, time: &str, from: &str) -> KnownReport {
    KnownReport {
        report: Some(Report {
            client: client.to_owned(),
            position: position.to_owned(),
            time: time.to_owned(),
            origin: "Riley".to_owned(),
            skew_nanos: 263_873_386,
        }),
        sequence: 1,
        learned_at: Some(at(1_699_999_000)),
        learned_from: from.to_owned(),
        recovered: false,
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

/// FNV-1a with a final mix: any hash will do here.
fn hash(text: &str, seed: u64) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, step);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

impl Service {
    async fn take<T>(
        &self,
        behaviour: impl FnOnce(&FakeState) -> &Behaviour,
        answer: impl FnOnce(&mut FakeState) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let behaviour = behaviour(&self.0.lock().unwrap()).clone();
        match behaviour {
            Behaviour::Answer => answer(&mut self.0.lock().unwrap()).map(Response::new),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Reject(status) => {
                self.0.lock().unwrap().rejected += 1;
                Err(status)
            }
        }
    }
}

#[tonic::async_trait]
impl Operator for Service {
    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.take(
            |state| &state.status_behaviour,
            |state| Ok(state.status.clone()),
        )
        .await
    }

    async fn locate(
        &self,
        request: Request<LocateRequest>,
    ) -> Result<Response<LocateResponse>, Status> {
        let client = request.into_inner().client;
        let locate = |state: &mut FakeState| {
            let known = state.reports.get(&client).cloned();
            Ok(LocateResponse {
                known: Some(known.ok_or_else(|| Status::not_found("there is no report"))?),
                age: Some(seconds(90)),
            })
        };
        self.take(|state| &state.behaviour, locate).await
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        let request = request.into_inner();
        let ranges = bounds(&request.ranges, 1);
        let list = |state: &mut FakeState| {
            let known = state.reports.iter();
            let clients = known
                .filter(|(client, _)| find(&ranges, hash(client, 0)).is_some())
                .filter(|(client, _)| **client > request.page_token)
                // Small pages, so that there are several.
                .take(2)
                .map(|(_, known)| known.clone());
            let clients: Vec<KnownReport> = clients.collect();
            let last = clients.last().and_then(|known| known.report.clone());
            Ok(ListClientsResponse {
                clients,
                next_page_token: last.map_or_else(String::new, |last| last.client),
            })
        };
        self.take(|state| &state.behaviour, list).await
    }

    async fn nearby(
        &self,
        request: Request<NearbyRequest>,
    ) -> Result<Response<NearbyResponse>, Status> {
        let near = |state: &mut FakeState| {
            state.nearbys.push(request.into_inner());
            let clients = state.near.clone();
            Ok(NearbyResponse { clients })
        };
        self.take(|state| &state.behaviour, near).await
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let watch = |state: &mut FakeState| {
            state.watches.push(request.clone());
            match request.start {
                Some(Start::Resume(from)) if from.incarnation != state.status.incarnation => {
                    return Err(Status::out_of_range("another incarnation"));
                }
                _ => {}
            }
            let (watcher, responses) = unbounded_channel();
            state.watchers.push(watcher);
            let ended = [Err(Status::unavailable("it is shutting down"))];
            let ended = tokio_stream::iter(ended);
            let responses = UnboundedReceiverStream::new(responses).chain(ended);
            Ok(Box::pin(responses) as Self::WatchStream)
        };
        self.take(|state| &state.behaviour, watch).await
    }

    type ExportStream = tokio_stream::Empty<Result<PushFrame, Status>>;

    async fn export(
        &self,
        _: Request<ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        self.take(|state| &state.behaviour, |_| Ok(tokio_stream::empty()))
            .await
    }

    async fn import(&self, _: Request<ImportRequest>) -> Result<Response<ImportResponse>, Status> {
        self.take(|state| &state.behaviour, |_| Ok(ImportResponse::default()))
            .await
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestResponse>, Status> {
        let request = request.into_inner();
        let digest = |state: &mut FakeState| {
            let response = DigestResponse {
                buckets: buckets(&request, state),
                incarnation: state.status.incarnation,
                sequence: 1,
            };
            state.digests.push(request);
            if let Some(mut change) = state.after_digest.take() {
                change(state);
                state.after_digest = Some(change);
            }
            Ok(response)
        };
        self.take(|state| &state.behaviour, digest).await
    }
}

/// Returns the bounds of the buckets of some ranges; those of all hashes if there are none.
fn bounds(ranges: &[HashRange], buckets: u32) -> Vec<(u64, u64)> {
    let all = [HashRange { first: 0, level: 0 }];
    let ranges = if ranges.is_empty() { &all } else { ranges };
    let bounds = |range: &HashRange| {
        let size = (1u128 << (64 - range.level)) / u128::from(buckets);
        let first = u128::from(range.first);
        let begin = move |bucket: u32| first + u128::from(bucket) * size;
        (0..buckets).map(move |it| (begin(it) as u64, (begin(it + 1) - 1) as u64))
    };
    ranges.iter().flat_map(bounds).collect()
}

/// Returns the index of the bounds that contain a hash.
fn find(bounds: &[(u64, u64)], hash: u64) -> Option<usize> {
    bounds
        .iter()
        .position(|&(first, last)| (first..=last).contains(&hash))
}

fn buckets(request: &DigestRequest, state: &FakeState) -> Vec<Bucket> {
    let bounds = bounds(&request.ranges, request.buckets.max(1));
    let mut buckets: Vec<Bucket> = bounds
        .iter()
        .map(|&(first_hash, last_hash)| Bucket {
            first_hash,
            last_hash,
            sum: vec![0; 16],
            ..Bucket::default()
        })
        .collect();
    for (client, known) in &state.reports {
        if let Some(at) = find(&bounds, hash(client, 0)) {
            let bucket = &mut buckets[at];
            let report = format!("{:?}", known.report);
            let one = u128::from(hash(&report, 1)) << 64 | u128::from(hash(&report, 2));
            let sum = u128::from_be_bytes(bucket.sum.as_slice().try_into().unwrap());
            bucket.sum = sum.wrapping_add(one).to_be_bytes().to_vec();
            bucket.clients += 1;
            bucket.unsettled |= state.unsettled.as_ref() == Some(client);
        }
    }
    buckets
}
