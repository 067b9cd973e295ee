//! The rounds of queries, until every range is proven.

use std::time::Duration;

use indicatif::ProgressBar;
use prost_types::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use crate::operator_client::{QueryError, RemoteServer, query_all};
use crate::proto::time::{timestamp, unix_nanos};
use crate::proto::{Bucket, DigestRequest, DigestResponse};
use crate::queries::digest::BucketSum;
use crate::queries::double_collect;
use crate::queries::hash_range::HashRange;

use super::super::format::count;
use super::Identified;
use super::ranges::{DigestQuery, OpenRange};

/// Intervals between rounds.
const FIRST_ROUND_INTERVAL: Duration = Duration::from_millis(20);
const MAX_ROUND_INTERVAL: Duration = Duration::from_millis(500);

/// Interval and maximum number of attempts while a server is overloaded.
const OVERLOAD_RETRY_INTERVAL: Duration = Duration::from_millis(50);
const MAX_OVERLOAD_ATTEMPTS: usize = 40;

/// The state of the comparison.
pub(super) struct Comparison {
    /// Servers that answered every query so far, with their incarnations at the start.
    pub(super) servers: Vec<(RemoteServer, u64)>,
    /// Servers that did not; they are queried no more.
    pub(super) lost: Vec<(RemoteServer, QueryError)>,
    /// Ranges that are not proven yet, in order.
    pub(super) open: Vec<OpenRange>,
    /// Number of clients in ranges that are proven.
    pub(super) proven_clients: u64,
    /// Number of those ranges.
    pub(super) proven_ranges: u64,
    pub(super) rounds: u64,
    clock: HerdClock,
}

/// The time as of which all servers are compared.
#[derive(Clone, Copy)]
struct HerdClock {
    /// The latest of the servers' clocks, and when it was read.
    latest: Option<i64>,
    read_at: Instant,
}

impl HerdClock {
    /// Returns the present time. No server has purged a report that was not expired then.
    fn now(self) -> Option<Timestamp> {
        let elapsed = i64::try_from(self.read_at.elapsed().as_nanos()).ok()?;
        Some(timestamp(self.latest?.saturating_add(elapsed)))
    }
}

impl Comparison {
    pub(super) fn new(identified: Identified) -> Self {
        let clocks = identified.compared.iter();
        let clocks = clocks.filter_map(|(_, status)| unix_nanos(status.now.as_ref()?));
        let clock = HerdClock {
            latest: clocks.max(),
            read_at: Instant::now(),
        };
        let servers = identified.compared.into_iter();
        Self {
            servers: servers
                .map(|(server, status)| (server, status.incarnation))
                .collect(),
            lost: identified.lost,
            open: vec![OpenRange {
                range: HashRange::ALL,
                clients: 0,
            }],
            proven_clients: 0,
            proven_ranges: 0,
            rounds: 0,
            clock,
        }
    }

    /// True while there are two servers to compare.
    pub(super) fn is_possible(&self) -> bool {
        self.servers.len() > 1
    }

    /// Returns the present time by the latest of the servers' clocks.
    pub(super) fn as_of(&self) -> Option<Timestamp> {
        self.clock.now()
    }

    pub(super) fn servers(&self) -> Vec<RemoteServer> {
        let servers = self.servers.iter();
        servers.map(|(server, _)| server.clone()).collect()
    }

    /// Queries until every range is proven, or the deadline passes, or only one server is left.
    /// The first round is whole in any case.
    pub(super) async fn run(&mut self, deadline: Instant, progress: &ProgressBar) {
        if self.is_possible() {
            self.round(&DigestQuery::first()).await;
        }
        let mut interval = FIRST_ROUND_INTERVAL;
        while self.is_possible() && !self.open.is_empty() {
            progress.set_message(format!(
                "{}: {} seen equal, {} open",
                count(self.rounds, "round"),
                count(self.proven_ranges, "range"),
                self.open.len()
            ));
            let query = DigestQuery::next(&self.open);
            let next = async {
                sleep(interval).await;
                self.round(&query).await;
            };
            // A round that is not complete in time leaves its ranges open.
            if timeout_at(deadline, next).await.is_err() {
                return;
            }
            interval = (interval * 3 / 2).min(MAX_ROUND_INTERVAL);
        }
    }

    /// Queries all servers, and again after all of them have answered, if any range may be proven.
    async fn round(&mut self, query: &DigestQuery) {
        self.rounds += 1;
        let request = query.request(self.as_of());
        let mut collects = vec![self.collect(query, &request).await];
        let mut open = query
            .buckets()
            .enumerate()
            .filter(|(_, (_, is_open))| *is_open);
        if open.any(|(at, _)| is_proof(&collects[0], &collects[0], at)) {
            collects.push(self.collect(query, &request).await);
        }
        self.judge(query, &collects);
    }

    /// Returns the sums of all servers that give a valid answer. A server that does not is lost.
    async fn collect(&mut self, query: &DigestQuery, request: &DigestRequest) -> Collect {
        let answers = query_all(&self.servers(), |server| digest(server, request.clone())).await;
        let queried = std::mem::take(&mut self.servers);
        let mut valid = Vec::new();
        for ((server, incarnation), answer) in queried.into_iter().zip(answers) {
            match answer.and_then(|answer| sums(&answer, query, incarnation)) {
                Ok(sums) => {
                    valid.push(sums);
                    self.servers.push((server, incarnation));
                }
                Err(error) => self.lost.push((server, error)),
            }
        }
        valid
    }

    /// Sorts the open buckets of a query into proven and open.
    fn judge(&mut self, query: &DigestQuery, collects: &[Collect]) {
        self.open.clear();
        for (at, (range, is_open)) in query.buckets().enumerate() {
            if !is_open {
                continue;
            }
            let sums = collects.iter().flatten().map(|sums| sums[at].clients);
            let clients = sums.max().unwrap_or(0);
            if let [first, second] = collects
                && is_proof(first, second, at)
            {
                self.proven_clients += clients;
                self.proven_ranges += 1;
            } else {
                self.open.push(OpenRange { range, clients });
            }
        }
    }
}

/// The sums of the buckets on each server.
type Collect = Vec<Vec<BucketSum>>;

/// Returns whether two collects prove the bucket at an index. A single server proves nothing.
fn is_proof(first: &Collect, second: &Collect, at: usize) -> bool {
    let [first_sums, second_sums] =
        [first, second].map(|collect| collect.iter().map(|sums| &sums[at]));
    second.len() > 1 && double_collect::is_proof(first_sums, second_sums)
}

/// Queries a server again while it is overloaded.
async fn digest(
    server: RemoteServer,
    request: DigestRequest,
) -> Result<DigestResponse, QueryError> {
    for _ in 1..MAX_OVERLOAD_ATTEMPTS {
        match server.digest(request.clone()).await {
            Err(QueryError::Unavailable(_)) => sleep(OVERLOAD_RETRY_INTERVAL).await,
            answer => return answer,
        }
    }
    server.digest(request).await
}

/// Returns the sums of an answer. Checks that it has the buckets of the query and comes from the
/// same incarnation as before.
fn sums(
    answer: &DigestResponse,
    query: &DigestQuery,
    incarnation: u64,
) -> Result<Vec<BucketSum>, QueryError> {
    if answer.incarnation != incarnation {
        return Err(QueryError::Restarted);
    }
    let expected = query
        .buckets()
        .map(|(range, _)| (range.first(), range.last()));
    let buckets = answer.buckets.iter();
    if !expected.eq(buckets
        .clone()
        .map(|bucket| (bucket.first_hash, bucket.last_hash)))
    {
        let message = "it has other buckets than the query".to_owned();
        return Err(QueryError::Invalid(message));
    }
    buckets.map(sum).collect()
}

fn sum(bucket: &Bucket) -> Result<BucketSum, QueryError> {
    let bytes = bucket.sum.as_slice().try_into();
    let bytes = bytes.map_err(|_| QueryError::Invalid("a sum has not 16 bytes".to_owned()))?;
    Ok(BucketSum {
        clients: bucket.clients,
        hashes: u128::from_be_bytes(bytes),
        is_unsettled: bucket.unsettled,
    })
}
