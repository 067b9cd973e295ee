//! The calls of the `Operator` service.

use std::sync::Arc;

use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::gateway::Gateway;
use crate::places::Places;
use crate::proto::operator_server::{Operator, OperatorServer};
use crate::proto::{
    Bucket, DigestRequest, DigestResponse, GetStatusRequest, GetStatusResponse, KnownReport,
    ListClientsRequest, ListClientsResponse, LocateRequest, LocateResponse, NearbyClient,
    NearbyRequest, NearbyResponse, WatchRequest, WatchResponse, nearby_request, watch_request,
};
use crate::queries::digest::{Buckets, Digest, RANGE_COUNT, RangeSum, is_narrow};
use crate::queries::nearby::{Nearby, NearbyQuery};
use crate::queries::page::{PageCache, PageQuery, page_of_ranges};
use crate::replication::store::StoredReport;

use super::filter::Filter;
use super::keeper::Kept;
use super::status::status;
use super::watch::{Told, Watcher, shutting_down};
use super::wire::{self, invalid, known_report};

/// Longest request, in bytes: two client IDs and a few numbers.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Most clients in one answer.
const MAX_CLIENTS: usize = 10_000;

/// Clients on a page, if nobody says.
const USUAL_PAGE: usize = 1000;

/// Clients that are near, if nobody says.
const USUAL_NEARBY: usize = 100;

/// Most bytes of clients in one answer: callers usually take 4 MiB, and where
/// all IDs are as long as may be, ten thousand clients are more.
const MAX_ANSWER_BYTES: usize = 3 << 20;

/// Most watchers at a time. Each costs up to two batches of 256 KiB.
const MAX_WATCHERS: usize = 64;

/// What operators call.
#[derive(Clone, Debug)]
pub struct Operators {
    gateway: Arc<Gateway>,
    places: Places,
    started: Instant,
    watchers: Arc<Semaphore>,
    digest: Arc<Kept<Digest>>,
    nearby: Arc<Kept<Nearby>>,
    pages: Arc<Kept<PageCache>>,
}

impl Operators {
    /// The service of one server, which starts now, and counts its answers of
    /// places in `places`.
    pub fn service(gateway: Arc<Gateway>, places: Places) -> OperatorServer<Self> {
        let operators = Self {
            gateway,
            places,
            started: Instant::now(),
            watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
            digest: Arc::default(),
            nearby: Arc::default(),
            pages: Arc::default(),
        };
        OperatorServer::new(operators).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// Hands all that is known of a client that is shown to `read`.
    fn locate<T>(
        &self,
        client: &str,
        read: impl FnOnce(&StoredReport<'_>) -> T,
    ) -> Result<T, Status> {
        let client = wire::client("client", client)?;
        let replica = self.gateway.replica();
        let now = self.gateway.clock().now();
        let is_hidden = |held: &StoredReport<'_>| replica.is_expired(held.report.time, now);
        let found = replica
            .store()
            .inspect(client, |held| (!is_hidden(&held)).then(|| read(&held)));
        match found {
            Some(Some(read)) => Ok(read),
            Some(None) => Err(Status::not_found(
                "the client's newest report here is older than expire_after, and is hidden",
            )),
            None => Err(Status::not_found(
                "this server has no report of that client",
            )),
        }
    }

    async fn list(&self, request: ListClientsRequest) -> Result<ListClientsResponse, Status> {
        let (first, last) = wire::hashes(request.first_hash, request.last_hash)?;
        let size = wire::how_many("page_size", request.page_size, USUAL_PAGE, MAX_CLIENTS)?;
        let wanted = PageQuery {
            prefix: request.prefix,
            after: request.page_token,
            hashes: first..=last,
            // One more tells whether there is another page.
            limit: size + 1,
        };
        let page = match is_narrow(&wanted.hashes) {
            true => self.page_of_ranges(wanted).await?,
            false => self.page(wanted).await?,
        };
        Ok(cut(page, size))
    }

    async fn page(&self, wanted: PageQuery) -> Result<Vec<(String, KnownReport)>, Status> {
        let gateway = self.gateway.clone();
        let page = self.pages.ask(move |pages| {
            let (replica, now) = (gateway.replica(), gateway.clock().now());
            pages.page(replica, now, &wanted, |held| known_report(replica, held))
        });
        page.await
    }

    /// Who asks for narrow ranges has asked for their sums before.
    async fn page_of_ranges(
        &self,
        wanted: PageQuery,
    ) -> Result<Vec<(String, KnownReport)>, Status> {
        let gateway = self.gateway.clone();
        let page = self.digest.ask(move |digest| {
            let (replica, now) = (gateway.replica(), gateway.clock().now());
            digest.catch_up(replica, now);
            let make = |held: &StoredReport<'_>| known_report(replica, held);
            page_of_ranges(digest, replica, now, &wanted, make)
        });
        page.await
    }

    async fn nearby(&self, request: NearbyRequest) -> Result<NearbyResponse, Status> {
        let question = self.question(&request)?;
        let gateway = self.gateway.clone();
        let found = self.nearby.ask(move |nearby| {
            let (replica, now) = (gateway.replica(), gateway.clock().now());
            nearby.query(replica, now, &question, |held| known_report(replica, held))
        });
        let clients = found.await?.into_iter().map(|found| NearbyClient {
            known: Some(found.client),
            distance_meters: found.metres,
        });
        let response = NearbyResponse {
            clients: clients.collect(),
        };
        match response.encoded_len() <= MAX_ANSWER_BYTES {
            true => Ok(response),
            false => Err(Status::resource_exhausted(format!(
                "the answer is longer than {MAX_ANSWER_BYTES} bytes: ask with a lower limit"
            ))),
        }
    }

    fn question(&self, request: &NearbyRequest) -> Result<NearbyQuery, Status> {
        let radius = request.radius_meters;
        if !(radius.is_finite() && radius >= 0.0) {
            return Err(invalid(
                "radius_meters must be a number of metres, 0 for however far",
            ));
        }
        let most = wire::how_many("limit", request.limit, USUAL_NEARBY, MAX_CLIENTS)?;
        let (from, but) = match &request.center {
            Some(nearby_request::Center::Point(point)) => {
                (wire::degrees("point", Some(*point))?, None)
            }
            Some(nearby_request::Center::Client(client)) => {
                let from = self.locate(client, |held| held.report.position.degrees())?;
                (from, Some(client.clone()))
            }
            None => return Err(invalid("center is missing: give a point or a client")),
        };
        Ok(NearbyQuery {
            centre: from,
            radius_metres: if radius == 0.0 { f64::INFINITY } else { radius },
            limit: most,
            exclude: but,
        })
    }

    async fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Status> {
        let buckets = buckets(&request)?;
        let gateway = self.gateway.clone();
        let sums = self.digest.ask(move |digest| {
            let now = gateway.clock().now();
            let sequence = digest.catch_up(gateway.replica(), now);
            (sequence, digest.sums(buckets))
        });
        let (sequence, sums) = sums.await?;
        let bucket = |((first_hash, last_hash), sum): ((u64, u64), RangeSum)| Bucket {
            first_hash,
            last_hash,
            clients: sum.clients,
            sum: sum.hashes.to_be_bytes().into(),
        };
        Ok(DigestResponse {
            buckets: buckets.bounds().zip(sums).map(bucket).collect(),
            incarnation: self.gateway.replica().identity().incarnation.get(),
            sequence,
        })
    }

    fn watch(&self, request: WatchRequest) -> Result<ReceiverStream<Told>, Status> {
        if self.gateway.board().is_closing() {
            return Err(shutting_down());
        }
        let filter = Filter::read(request.filter)?;
        let start = self.start(request.start.as_ref())?;
        let place = self.watchers.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{MAX_WATCHERS} watchers are here already: try again later"
            ))
        })?;
        let (to, told) = mpsc::channel(1);
        let watcher = Watcher::new(&self.gateway, filter, start, place);
        tokio::spawn(watcher.run(to));
        Ok(ReceiverStream::new(told))
    }

    /// Behind which number a watcher begins, and behind which it is told how
    /// much was replaced.
    fn start(&self, start: Option<&watch_request::Start>) -> Result<(u64, u64), Status> {
        let replica = self.gateway.replica();
        let last = replica.store().last();
        match start {
            None | Some(watch_request::Start::Present(false)) => Ok((last, last)),
            Some(watch_request::Start::Present(true)) => Ok((0, last)),
            Some(watch_request::Start::Resume(at)) => {
                if at.incarnation != replica.identity().incarnation.get() {
                    return Err(Status::out_of_range(
                        "resume.incarnation is not this life of the server, which has restarted \
                         or is another: begin with the present state",
                    ));
                }
                if at.sequence > last {
                    return Err(Status::out_of_range(format!(
                        "resume.sequence was never reached: this server has come to {last}"
                    )));
                }
                Ok((at.sequence, at.sequence))
            }
        }
    }
}

fn buckets(request: &DigestRequest) -> Result<Buckets, Status> {
    let (first, last) = wire::hashes(request.first_hash, request.last_hash)?;
    let count = wire::how_many("buckets", request.buckets, 1, RANGE_COUNT)?;
    if !count.is_power_of_two() {
        return Err(invalid(format!(
            "buckets must be a power of two, at most {RANGE_COUNT}"
        )));
    }
    Buckets::new(first, last, count)
        .ok_or_else(|| invalid("buckets must be no more than there are hashes in the range"))
}

/// A page of at most `size` clients, and not too many bytes.
fn cut(found: Vec<(String, KnownReport)>, size: usize) -> ListClientsResponse {
    let (mut response, mut bytes) = (ListClientsResponse::default(), 0);
    let mut last = String::new();
    for (id, known) in found {
        bytes += known.encoded_len();
        let is_over = bytes > MAX_ANSWER_BYTES && !response.clients.is_empty();
        if response.clients.len() == size || is_over {
            response.next_page_token = last;
            break;
        }
        response.clients.push(known);
        last = id;
    }
    response
}

#[tonic::async_trait]
impl Operator for Operators {
    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let status = status(&self.gateway, &self.places, self.started);
        Ok(Response::new(status))
    }

    async fn locate(
        &self,
        request: Request<LocateRequest>,
    ) -> Result<Response<LocateResponse>, Status> {
        let (replica, now) = (self.gateway.replica(), self.gateway.clock().now());
        let located = Operators::locate(self, &request.get_ref().client, |held| LocateResponse {
            known: Some(known_report(replica, held)),
            age: Some(wire::age(held.report.time, now)),
        });
        located.map(Response::new)
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        self.list(request.get_ref().clone())
            .await
            .map(Response::new)
    }

    async fn nearby(
        &self,
        request: Request<NearbyRequest>,
    ) -> Result<Response<NearbyResponse>, Status> {
        // The request is kept: its place on the port is taken until the answer.
        let found = Operators::nearby(self, request.get_ref().clone()).await;
        found.map(Response::new)
    }

    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Operators::watch(self, request.into_inner()).map(Response::new)
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestResponse>, Status> {
        let sums = Operators::digest(self, *request.get_ref()).await;
        sums.map(Response::new)
    }
}
