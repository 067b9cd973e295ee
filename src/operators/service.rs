//! The calls of the `Operator` service.

use std::sync::Arc;

use prost::Message;
use prost_types::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::gateway::{Gateway, StatusSource, WatchStart, age, give_way, known_report};
use crate::model::timestamp::UnixNanos;
use crate::proto::operator_server::{Operator, OperatorServer};
use crate::proto::{
    Bucket, DigestRequest, DigestResponse, ExportRequest, GetStatusRequest, GetStatusResponse,
    ImportRequest, ImportResponse, KnownReport, ListClientsRequest, ListClientsResponse,
    LocateRequest, LocateResponse, NearbyClient, NearbyRequest, NearbyResponse, WatchRequest,
    WatchResponse, nearby_request, watch_request,
};
use crate::queries::digest::{self, BucketSum, Buckets, MAX_BUCKETS};
use crate::queries::hash_range::HashRange;
use crate::queries::nearby::{self, NearbyQuery};
use crate::queries::page::{self, PageQuery};
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::filter::WatchFilter;
use super::transfer::{self, ExportResult, Importer};
use super::watch::{WatchResult, WatchStream, shutting_down};
use super::wire::{self, invalid};

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

/// Maximum number of concurrent exports. Each uses up to two messages of 256 KiB.
const MAX_EXPORTS: usize = 4;

/// The `Operator` service.
#[derive(Clone, Debug)]
pub struct Operators {
    source: StatusSource,
    gateway: Arc<Gateway>,
    watches: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    importer: Arc<Importer>,
}

impl Operators {
    /// Creates the service of one server, which reads the state of the server from `source`.
    pub fn service(source: StatusSource) -> OperatorServer<Self> {
        let operators = Self {
            gateway: source.gateway().clone(),
            source,
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            importer: Arc::new(Importer::new()),
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

    /// Runs a scan when it is its turn.
    async fn scan<T: Send + 'static>(
        &self,
        scan: impl FnOnce(&Replica) -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.gateway.scan(scan).await.map_err(wire::panicked)
    }

    async fn list(&self, request: ListClientsRequest) -> Result<ListClientsResponse, Status> {
        let size = wire::limit(
            "page_size",
            request.page_size,
            DEFAULT_PAGE_CLIENTS,
            MAX_CLIENTS,
        )?;
        let as_of = self.as_of(request.as_of.as_ref())?;
        let query = PageQuery {
            ranges: wire::ranges(&request.ranges)?,
            prefix: request.prefix,
            after: request.page_token,
            // One more shows whether there is another page.
            limit: size + 1,
        };
        let page = self.scan(move |replica| {
            let make = |stored: &StoredReport<'_>| known_report(replica, stored);
            page::scan(replica, as_of, &query, make, give_way)
        });
        Ok(cut(page.await?, size))
    }

    async fn nearby(&self, request: NearbyRequest) -> Result<NearbyResponse, Status> {
        let query = self.nearby_query(&request)?;
        let now = self.gateway.clock().now();
        let found = self.scan(move |replica| {
            let make = |stored: &StoredReport<'_>| known_report(replica, stored);
            nearby::scan(replica, now, &query, make, give_way)
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
        let as_of = self.as_of(request.as_of.as_ref())?;
        let scan = self.scan(move |replica| {
            let digest = digest::scan(replica, as_of, &buckets, give_way);
            let sums = buckets.ranges().zip(digest.sums);
            DigestResponse {
                buckets: sums.map(|(range, sum)| bucket(range, sum)).collect(),
                incarnation: replica.incarnation().get(),
                sequence: digest.sequence,
            }
        });
        scan.await
    }

    fn as_of(&self, requested: Option<&Timestamp>) -> Result<UnixNanos, Status> {
        let (replica, now) = (self.gateway.replica(), self.gateway.clock().now());
        wire::as_of(requested, replica, now)
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

    fn export(&self) -> Result<ReceiverStream<ExportResult>, Status> {
        if self.gateway.shutdown().has_begun() {
            return Err(shutting_down());
        }
        let permit = self.exports.clone().try_acquire_owned().map_err(|_| {
            Status::unavailable(format!(
                "this server has {MAX_EXPORTS} exports under way, the maximum: try again later"
            ))
        })?;
        let (sender, messages) = mpsc::channel(1);
        tokio::spawn(transfer::export(self.gateway.clone(), sender, permit));
        Ok(ReceiverStream::new(messages))
    }

    fn start(&self, start: Option<&watch_request::Start>) -> Result<WatchStart, Status> {
        let replica = self.gateway.replica();
        let last = replica.store().last();
        match start {
            None | Some(watch_request::Start::Present(false)) => Ok(WatchStart::after(last)),
            Some(watch_request::Start::Present(true)) => Ok(WatchStart {
                position: 0,
                replaced_after: last,
            }),
            Some(watch_request::Start::Resume(at)) => {
                if at.incarnation != replica.incarnation().get() {
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
                Ok(WatchStart::after(at.sequence))
            }
        }
    }
}

fn buckets(request: &DigestRequest) -> Result<Buckets, Status> {
    let ranges = wire::ranges(&request.ranges)?;
    let parts = request.buckets.max(1) as usize;
    Buckets::new(ranges, parts).ok_or_else(|| {
        invalid(format!(
            "buckets must be a power of two, at most the number of hashes in each range, and at \
             most {MAX_BUCKETS} for all ranges together"
        ))
    })
}

fn bucket(range: HashRange, sum: BucketSum) -> Bucket {
    Bucket {
        first_hash: range.first(),
        last_hash: range.last(),
        clients: sum.clients,
        sum: sum.hashes.to_be_bytes().into(),
        unsettled: sum.is_unsettled,
    }
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
            age: Some(age(stored.report.time, now)),
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

    type ExportStream = ReceiverStream<ExportResult>;

    async fn export(
        &self,
        _: Request<ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        Operators::export(self).map(Response::new)
    }

    async fn import(
        &self,
        request: Request<ImportRequest>,
    ) -> Result<Response<ImportResponse>, Status> {
        let imported = self.importer.import(&self.gateway, request.into_inner());
        imported.await.map(Response::new)
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestResponse>, Status> {
        let sums = Operators::digest(self, request.get_ref().clone()).await;
        sums.map(Response::new)
    }
}
