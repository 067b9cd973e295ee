//! The rounds of queries, until every range was seen equal.

use std::panic::resume_unwind;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::proto::{Bucket, DigestRequest, DigestResponse};

use super::super::error::QueryError;
use super::super::fan_out::query_all;
use super::super::format::count;
use super::super::server::RemoteServer;
use super::Identified;
use super::ranges::{self, HashRange, OpenRange, RangeQuery};

/// Maximum number of concurrent queries: far below the calls that a server accepts.
const MAX_CONCURRENT_QUERIES: usize = 8;

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
    /// Ranges that were not seen equal yet, in order.
    pub(super) open: Vec<OpenRange>,
    /// Number of clients in ranges that were seen equal.
    pub(super) proven_clients: u64,
    /// Number of those ranges.
    pub(super) proven_ranges: u64,
    pub(super) rounds: u64,
}

impl Comparison {
    pub(super) fn new((servers, lost): Identified) -> Self {
        Self {
            servers,
            lost,
            open: vec![OpenRange {
                range: HashRange::ALL,
                clients: 0,
            }],
            proven_clients: 0,
            proven_ranges: 0,
            rounds: 0,
        }
    }

    /// True while there are two servers to compare.
    pub(super) fn is_possible(&self) -> bool {
        self.servers.len() > 1
    }

    /// Queries until every range was seen equal, or the deadline passes, or only one
    /// server is left.
    pub(super) async fn run(&mut self, deadline: Instant, progress: &ProgressBar) {
        let mut interval = FIRST_ROUND_INTERVAL;
        let mut queries = ranges::first();
        while self.is_possible() {
            self.round(queries, deadline).await;
            progress.set_message(format!(
                "{}: {} seen equal, {} open",
                count(self.rounds, "round"),
                count(self.proven_ranges, "range"),
                self.open.len()
            ));
            if self.open.is_empty() || Instant::now() + interval >= deadline {
                return;
            }
            sleep(interval).await;
            interval = (interval * 3 / 2).min(MAX_ROUND_INTERVAL);
            queries = ranges::plan(&self.open);
        }
    }

    /// Sends these queries. Queries that the deadline prevents leave their ranges open;
    /// the first round is sent whole.
    async fn round(&mut self, queries: Vec<RangeQuery>, deadline: Instant) {
        self.rounds += 1;
        let is_first = self.rounds == 1;
        let mut waiting = queries.into_iter();
        let mut running = JoinSet::new();
        self.open.clear();
        loop {
            let in_time = || is_first || Instant::now() < deadline;
            while running.len() < MAX_CONCURRENT_QUERIES
                && in_time()
                && let Some(query) = waiting.next()
            {
                running.spawn(send(query, self.servers()));
            }
            let Some(joined) = running.join_next().await else {
                break;
            };
            let (query, answers) = joined.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            let answers = self.valid(&query, answers);
            self.judge(&query, &answers);
        }
        for query in waiting {
            self.judge(&query, &[]);
        }
        self.open.sort_by_key(|open| open.range);
    }

    pub(super) fn servers(&self) -> Vec<RemoteServer> {
        self.servers
            .iter()
            .map(|(server, _)| server.clone())
            .collect()
    }

    /// Returns the valid answers. A server without one is lost.
    fn valid(&mut self, query: &RangeQuery, answers: Answers) -> Vec<DigestResponse> {
        let mut valid = Vec::new();
        for (title, answer) in answers {
            let Some(at) = self
                .servers
                .iter()
                .position(|(server, _)| server.title() == title)
            else {
                continue;
            };
            match answer.and_then(|answer| check(answer, query, self.servers[at].1)) {
                Ok(answer) => valid.push(answer),
                Err(error) => {
                    let (server, _) = self.servers.remove(at);
                    self.lost.push((server, error));
                }
            }
        }
        valid
    }

    /// Sorts the open buckets of a query into proven and open. A single answer proves
    /// nothing.
    fn judge(&mut self, query: &RangeQuery, answers: &[DigestResponse]) {
        for (i, (range, is_open)) in query.buckets().enumerate() {
            if !is_open {
                continue;
            }
            let mut held = answers.iter().map(|answer| &answer.buckets[i]);
            let clients = held.clone().map(|bucket| bucket.clients).max().unwrap_or(0);
            let first = held.next();
            let is_equal =
                first.is_some_and(|first| held.len() > 0 && held.all(|b| is_same(first, b)));
            if is_equal {
                self.proven_clients += clients;
                self.proven_ranges += 1;
            } else {
                self.open.push(OpenRange { range, clients });
            }
        }
    }
}

fn is_same(one: &Bucket, other: &Bucket) -> bool {
    one.clients == other.clients && one.sum == other.sum
}

/// The titles of servers, with their answers.
type Answers = Vec<(String, Result<DigestResponse, QueryError>)>;

/// Sends a query to all servers at once.
async fn send(query: RangeQuery, servers: Vec<RemoteServer>) -> (RangeQuery, Answers) {
    let request = query.request();
    let answers = query_all(&servers, |server| digest(server, request)).await;
    let titles = servers.iter().map(RemoteServer::title);
    (query, titles.zip(answers).collect())
}

/// Queries a server again while it is overloaded.
async fn digest(
    server: RemoteServer,
    request: DigestRequest,
) -> Result<DigestResponse, QueryError> {
    for _ in 0..MAX_OVERLOAD_ATTEMPTS {
        match server.digest(request).await {
            Err(QueryError::Overloaded) => sleep(OVERLOAD_RETRY_INTERVAL).await,
            answer => return answer,
        }
    }
    Err(QueryError::Overloaded)
}

/// Checks that an answer has the buckets of the query and comes from the same
/// incarnation as before.
fn check(
    answer: DigestResponse,
    query: &RangeQuery,
    incarnation: u64,
) -> Result<DigestResponse, QueryError> {
    if answer.incarnation != incarnation {
        return Err(QueryError::Restarted);
    }
    let expected = query
        .buckets()
        .map(|(range, _)| (range.first, range.last()));
    let got = answer
        .buckets
        .iter()
        .map(|bucket| (bucket.first_hash, bucket.last_hash));
    if expected.eq(got) {
        Ok(answer)
    } else {
        let message = "it has other buckets than the query".to_owned();
        Err(QueryError::Invalid(message))
    }
}
