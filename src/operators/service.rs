//! The calls of the `Operator` service.

use std::sync::Arc;

use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::gateway::{Gateway, StatusSource};
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

use super::filter::WatchFilter;
use super::idle_cached::IdleCached;
use super::watch::{StartPosition, WatchResult, WatchStream, shutting_down};
use super::wire::{self, invalid, known_report};

/// Maximum number of clients in one response.
const MAX_CLIENTS: usize = 10_000;

/// Number of clients on a page if the request gives none.
const DEFAULT_PAGE_CLIENTS: usize = 1000;

/// Number of nearby clients if the request gives none.
const DEFAULT_NEARBY_CLIENTS: usize = 100;

/// Maximum size of the clients in one response. gRPC clients accept 4 MiB by default, and ten
/// thousand clients with the longest IDs are more.
const MAX_RESPONSE_BYTES: usize = 3 << 20;

/// Maximum number of concurrent watches. Each uses up to two batches of 256 KiB.
const MAX_WATCHES: usize = 64;

/// The `Operator` service.
#[derive(Clone, Debug)]
pub struct Operators {
    source: StatusSource,
    gateway: Arc<Gateway>,
    watches: Arc<Semaphore>,
    digest: Arc<IdleCached<Digest>>,
    nearby: Arc<IdleCached<Nearby>>,
    pages: Arc<IdleCached<PageCache>>,
}

impl Operators {
    /// Creates the service of one server, which reads the state of the server from `source`.
    pub fn service(source: StatusSource) -> OperatorServer<Self> {
        let operators = Self {
            gateway: source.gateway().clone(),
            source,
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            digest: Arc::default(),
            nearby: Arc::default(),
            pages: Arc::default(),
        };
        OperatorServer::new(operators)
    }

    /// Passes a client's report that has not expired to `read`.
    fn locate<T>(
        &self,
        client: &str,
        read: impl FnOnce(&StoredReport<'_>) -> T,
    ) -> Result<T, Status> {
        let client = wire::client("client", client)?;
        let replica = self.gateway.replica();
        let now = self.gateway.clock().now();
        let found = replica.store().inspect(client, |stored| {
            let is_expired = replica.is_expired(stored.report.order_time(), now);
            (!is_expired).then(|| read(&stored))
        });
        match found {
            Some(Some(read)) => Ok(read),
            Some(None) => Err(Status::not_found(
                "the client's newest report on this server has expired (expire_after)",
            )),
            None => Err(Status::not_found(
                "this server has no report of that client",
            )),
        }
    }

    async fn list(&self, request: ListClientsRequest) -> Result<ListClientsResponse, Status> {
        let (first, last) = wire::hashes(request.first_hash, request.last_hash)?;
        let size = wire::limit(
            "page_size",
            request.page_size,
            DEFAULT_PAGE_CLIENTS,
            MAX_CLIENTS,
        )?;
        let query = PageQuery {
            prefix: request.prefix,
            after: request.page_token,
            hashes: first..=last,
            // One more shows whether there is another page.
            limit: size + 1,
        };
        let page = if is_narrow(&query.hashes) {
            self.page_of_ranges(query).await?
        } else {
            self.page(query).await?
        };
        Ok(cut(page, size))
    }

    async fn page(&self, query: PageQuery) -> Result<Vec<(String, KnownReport)>, Status> {
        let gateway = self.gateway.clone();
        let page = self.pages.with(move |pages| {
            let (replica, now) = (gateway.replica(), gateway.clock().now());
            pages.page(replica, now, &query, |stored| known_report(replica, stored))
        });
        page.await
    }

    /// Callers that list narrow ranges have queried their digests before, so the digest is cached.
    async fn page_of_ranges(&self, query: PageQuery) -> Result<Vec<(String, KnownReport)>, Status> {
        let gateway = self.gateway.clone();
        let page = self.digest.with(move |digest| {
            let (replica, now) = (gateway.replica(), gateway.clock().now());
            digest.catch_up(replica, now);
            let make = |stored: &StoredReport<'_>| known_report(replica, stored);
            page_of_ranges(digest, replica, now, &query, make)
        });
        page.await
    }

    async fn nearby(&self, request: NearbyRequest) -> Result<NearbyResponse, Status> {
        let query = self.nearby_query(&request)?;
        let gateway = self.gateway.clone();
        let found = self.nearby.with(move |nearby| {
            let (replica, now) = (gateway.replica(), gateway.clock().now());
            nearby.query(replica, now, &query, |stored| known_report(replica, stored))
        });
        let clients = found.await?.into_iter().map(|found| NearbyClient {
            known: Some(found.client),
            distance_meters: found.metres,
        });
        let response = NearbyResponse {
            clients: clients.collect(),
        };
        if response.encoded_len() > MAX_RESPONSE_BYTES {
            return Err(Status::resource_exhausted(format!(
                "the response is longer than {MAX_RESPONSE_BYTES} bytes: use a lower limit"
            )));
        }
        Ok(response)
    }

    fn nearby_query(&self, request: &NearbyRequest) -> Result<NearbyQuery, Status> {
        let radius = request.radius_meters;
        if !(radius.is_finite() && radius >= 0.0) {
            return Err(invalid(
                "radius_meters must be a number of metres, or 0 for any distance",
            ));
        }
        let limit = wire::limit("limit", request.limit, DEFAULT_NEARBY_CLIENTS, MAX_CLIENTS)?;
        let (centre, exclude) = match &request.center {
            Some(nearby_request::Center::Point(point)) => {
                (wire::degrees("point", Some(*point))?, None)
            }
            Some(nearby_request::Center::Client(client)) => {
                let centre = self.locate(client, |stored| stored.report.position.degrees())?;
                (centre, Some(client.clone()))
            }
            None => return Err(invalid("center is missing: give a point or a client")),
        };
        Ok(NearbyQuery {
            centre,
            radius_metres: if radius == 0.0 { f64::INFINITY } else { radius },
            limit,
            exclude,
        })
    }

    async fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Status> {
        let buckets = buckets(&request)?;
        let gateway = self.gateway.clone();
        let sums = self.digest.with(move |digest| {
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

    fn watch(&self, request: WatchRequest) -> Result<ReceiverStream<WatchResult>, Status> {
        if self.gateway.shutdown().has_begun() {
            return Err(shutting_down());
        }
        let filter = WatchFilter::read(request.filter)?;
        let start = self.start(request.start.as_ref())?;
        let permit = self.watches.clone().try_acquire_owned().map_err(|_| {
            Status::unavailable(format!(
                "this server has {MAX_WATCHES} watches, the maximum: try again later"
            ))
        })?;
        let (sender, responses) = mpsc::channel(1);
        let watch = WatchStream::new(&self.gateway, filter, start, permit);
        tokio::spawn(watch.run(sender));
        Ok(ReceiverStream::new(responses))
    }

    fn start(&self, start: Option<&watch_request::Start>) -> Result<StartPosition, Status> {
        let replica = self.gateway.replica();
        let last = replica.store().last();
        let after = |position| StartPosition {
            position,
            replaced_after: position,
        };
        match start {
            None | Some(watch_request::Start::Present(false)) => Ok(after(last)),
            Some(watch_request::Start::Present(true)) => Ok(StartPosition {
                position: 0,
                replaced_after: last,
            }),
            Some(watch_request::Start::Resume(at)) => {
                if at.incarnation != replica.identity().incarnation.get() {
                    return Err(Status::out_of_range(
                        "resume.incarnation is of another incarnation: the server has restarted, \
                         or is another; watch from the present state instead",
                    ));
                }
                if at.sequence > last {
                    return Err(Status::out_of_range(format!(
                        "resume.sequence is greater than the last sequence number, {last}"
                    )));
                }
                Ok(after(at.sequence))
            }
        }
    }
}

fn buckets(request: &DigestRequest) -> Result<Buckets, Status> {
    let (first, last) = wire::hashes(request.first_hash, request.last_hash)?;
    let count = wire::limit("buckets", request.buckets, 1, RANGE_COUNT)?;
    if !count.is_power_of_two() {
        return Err(invalid(format!(
            "buckets must be a power of two, at most {RANGE_COUNT}"
        )));
    }
    Buckets::new(first, last, count)
        .ok_or_else(|| invalid("buckets must be at most the number of hashes in the range"))
}

/// Makes a page of at most `size` clients that fits into a response.
fn cut(found: Vec<(String, KnownReport)>, size: usize) -> ListClientsResponse {
    let (mut response, mut bytes) = (ListClientsResponse::default(), 0);
    let mut last = String::new();
    for (id, known) in found {
        bytes += known.encoded_len();
        let is_too_long = bytes > MAX_RESPONSE_BYTES && !response.clients.is_empty();
        if response.clients.len() == size || is_too_long {
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
        Ok(Response::new(self.source.read()))
    }

    async fn locate(
        &self,
        request: Request<LocateRequest>,
    ) -> Result<Response<LocateResponse>, Status> {
        let (replica, now) = (self.gateway.replica(), self.gateway.clock().now());
        let located = Operators::locate(self, &request.get_ref().client, |stored| LocateResponse {
            known: Some(known_report(replica, stored)),
            age: Some(wire::age(stored.report.time, now)),
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
        // `request` lives until the response: it holds the call's slot of the port.
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
