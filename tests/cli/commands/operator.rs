//! Servers that the test plays: they answer operators as they are told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use prost_types::{Duration, Timestamp};
use proxyherd::proto::operator_server::{Operator, OperatorServer};
use proxyherd::proto::watch_request::Start;
use proxyherd::proto::{
    Bucket, DigestRequest, DigestResponse, GetStatusRequest, GetStatusResponse, KnownReport,
    ListClientsRequest, ListClientsResponse, LocateRequest, LocateResponse, NearbyClient,
    NearbyRequest, NearbyResponse, Report, WatchRequest, WatchResponse,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::common::{Ended, Process, Site, eventually};

/// How a fake server treats a call.
#[derive(Clone, Default)]
pub(crate) enum Manner {
    #[default]
    Answers,
    Hangs,
    Refuses(Status),
}

/// How what a fake server knows changes.
pub(crate) type GoesOn = Box<dyn FnMut(&mut Script) + Send>;

/// What a fake server knows, and what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    pub status: GetStatusResponse,
    pub known: BTreeMap<String, KnownReport>,
    pub near: Vec<NearbyClient>,
    /// For all calls but GetStatus.
    pub manner: Manner,
    /// For GetStatus.
    pub on_status: Manner,
    pub digests: Vec<DigestRequest>,
    pub nearbys: Vec<NearbyRequest>,
    pub watches: Vec<WatchRequest>,
    /// Done after each Digest: the world goes on.
    pub after_digest: Option<GoesOn>,
    watchers: Vec<UnboundedSender<Result<WatchResponse, Status>>>,
}

/// A server that the test plays.
pub(crate) struct Played {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    runtime: Option<Runtime>,
}

struct Service(Arc<Mutex<Script>>);

impl Played {
    /// Its incarnation is a hash of its name.
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
        let script = Script {
            status,
            ..Script::default()
        };
        let script = Arc::new(Mutex::new(script));
        let (address, runtime) = serve(&script, "127.0.0.1:0".parse().unwrap());
        Self {
            address,
            script,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Reads or changes what it knows and does.
    pub(crate) fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }

    pub(crate) fn knows(&self, known: KnownReport) {
        let client = known.report.as_ref().unwrap().client.clone();
        self.script(|script| script.known.insert(client, known));
    }

    /// Tells all watchers.
    pub(crate) fn tells(&self, response: WatchResponse) {
        self.script(|script| {
            let tell = |watcher: &UnboundedSender<_>| watcher.send(Ok(response.clone())).is_ok();
            script.watchers.retain(tell);
        });
    }

    /// Waits until it was asked to watch so often.
    #[track_caller]
    pub(crate) fn await_watches(&self, count: usize) -> WatchRequest {
        eventually(&format!("watch {count} begins"), || {
            self.script(|script| script.watches.get(count - 1).cloned())
        })
    }

    /// Dies: its connections end, and nobody listens.
    pub(crate) fn dies(&mut self) {
        self.script(|script| script.watchers.clear());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }

    /// Listens again at its address.
    pub(crate) fn returns(&mut self) {
        let (_, runtime) = serve(&self.script, self.address);
        self.runtime = Some(runtime);
    }
}

fn serve(script: &Arc<Mutex<Script>>, address: SocketAddr) -> (SocketAddr, Runtime) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let bind = || runtime.block_on(async { TcpIncoming::bind(address).ok() });
    let incoming = eventually("the address is free", bind).with_nodelay(Some(true));
    let address = incoming.local_addr().unwrap();
    let service = OperatorServer::new(Service(script.clone()));
    let server = Server::builder().add_service(service);
    runtime.spawn(server.serve_with_incoming(incoming));
    (address, runtime)
}

/// A site whose servers the test plays, with links as given.
pub(crate) fn herd(names: &[&str]) -> (Site, Vec<Played>) {
    let site = Site::new((names, &[]), "");
    let played: Vec<Played> = names.iter().map(|name| Played::start(name)).collect();
    let mut config = site.config();
    for (server, played) in site.servers().iter().zip(&played) {
        let old = format!("peers = \"127.0.0.1:{}\"", server.peers);
        config = config.replace(&old, &format!("peers = \"{}\"", played.address()));
    }
    site.set_config(&config);
    (site, played)
}

/// Runs a command, and gives what came of it if it ended with this code.
#[track_caller]
pub(crate) fn run(site: &Site, arguments: &[&str], code: i32) -> Ended {
    let ended = Process::run(&mut site.command(arguments));
    assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
    ended
}

/// The same with `--json`.
#[track_caller]
pub(crate) fn run_json(site: &Site, arguments: &[&str], code: i32) -> serde_json::Value {
    let ended = run(site, &[arguments, &["--json"]].concat(), code);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

pub(crate) fn known(client: &str, position: &str, time: &str, from: &str) -> KnownReport {
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
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

/// FNV-1a with a mixing end: what a client's hash is does not matter here.
fn hash(text: &str, seed: u64) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, step);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

impl Service {
    async fn take<T>(
        &self,
        manner: impl FnOnce(&Script) -> &Manner,
        answer: impl FnOnce(&mut Script) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let manner = manner(&self.0.lock().unwrap()).clone();
        match manner {
            Manner::Answers => answer(&mut self.0.lock().unwrap()).map(Response::new),
            Manner::Hangs => std::future::pending().await,
            Manner::Refuses(status) => Err(status),
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
            |script| &script.on_status,
            |script| Ok(script.status.clone()),
        )
        .await
    }

    async fn locate(
        &self,
        request: Request<LocateRequest>,
    ) -> Result<Response<LocateResponse>, Status> {
        let client = request.into_inner().client;
        let locate = |script: &mut Script| {
            let known = script.known.get(&client).cloned();
            Ok(LocateResponse {
                known: Some(known.ok_or_else(|| Status::not_found("there is no report"))?),
                age: Some(seconds(90)),
            })
        };
        self.take(|script| &script.manner, locate).await
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        let request = request.into_inner();
        let range = request.first_hash..=greatest(request.last_hash);
        let list = |script: &mut Script| {
            let known = script.known.iter();
            let clients = known
                .filter(|(client, _)| range.contains(&hash(client, 0)))
                .filter(|(client, _)| **client > request.page_token)
                // Small pages, so that there are some to turn.
                .take(2)
                .map(|(_, known)| known.clone());
            let clients: Vec<KnownReport> = clients.collect();
            let last = clients.last().and_then(|known| known.report.clone());
            Ok(ListClientsResponse {
                clients,
                next_page_token: last.map_or_else(String::new, |last| last.client),
            })
        };
        self.take(|script| &script.manner, list).await
    }

    async fn nearby(
        &self,
        request: Request<NearbyRequest>,
    ) -> Result<Response<NearbyResponse>, Status> {
        let near = |script: &mut Script| {
            script.nearbys.push(request.into_inner());
            let clients = script.near.clone();
            Ok(NearbyResponse { clients })
        };
        self.take(|script| &script.manner, near).await
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let watch = |script: &mut Script| {
            script.watches.push(request.clone());
            match request.start {
                Some(Start::Resume(from)) if from.incarnation != script.status.incarnation => {
                    return Err(Status::out_of_range("that was another life"));
                }
                _ => {}
            }
            let (watcher, responses) = unbounded_channel();
            script.watchers.push(watcher);
            let ended = [Err(Status::unavailable("it is shutting down"))];
            let ended = tokio_stream::iter(ended);
            let responses = UnboundedReceiverStream::new(responses).chain(ended);
            Ok(Box::pin(responses) as Self::WatchStream)
        };
        self.take(|script| &script.manner, watch).await
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestResponse>, Status> {
        let request = request.into_inner();
        let digest = |script: &mut Script| {
            script.digests.push(request);
            let response = DigestResponse {
                buckets: buckets(&request, &script.known),
                incarnation: script.status.incarnation,
                sequence: 1,
            };
            if let Some(mut go_on) = script.after_digest.take() {
                go_on(script);
                script.after_digest = Some(go_on);
            }
            Ok(response)
        };
        self.take(|script| &script.manner, digest).await
    }
}

fn greatest(last_hash: u64) -> u64 {
    if last_hash == 0 { u64::MAX } else { last_hash }
}

fn buckets(request: &DigestRequest, known: &BTreeMap<String, KnownReport>) -> Vec<Bucket> {
    let first = u128::from(request.first_hash);
    let size = u128::from(greatest(request.last_hash)) - first + 1;
    let count = u128::from(request.buckets.max(1));
    let begin = |i: u128| first + i * size / count;
    let mut buckets: Vec<Bucket> = (0..count)
        .map(|i| Bucket {
            first_hash: begin(i) as u64,
            last_hash: (begin(i + 1) - 1) as u64,
            clients: 0,
            sum: vec![0; 16],
        })
        .collect();
    for (client, known) in known {
        let hashed = hash(client, 0);
        let within =
            |bucket: &&mut Bucket| (bucket.first_hash..=bucket.last_hash).contains(&hashed);
        if let Some(bucket) = buckets.iter_mut().find(within) {
            let report = format!("{:?}", known.report);
            let one = u128::from(hash(&report, 1)) << 64 | u128::from(hash(&report, 2));
            let sum = u128::from_be_bytes(bucket.sum.as_slice().try_into().unwrap());
            bucket.sum = sum.wrapping_add(one).to_be_bytes().to_vec();
            bucket.clients += 1;
        }
    }
    buckets
}
