//! The rounds of questions, until every range was seen equal.

use std::panic::resume_unwind;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::proto::{Bucket, DigestRequest, DigestResponse};

use super::super::failure::Failure;
use super::super::fan_out::ask_all;
use super::super::server::Server;
use super::Identified;
use super::ranges::{self, Open, RangeQuery};

/// Questions under way at once: far below the calls that a server takes.
const AT_ONCE: usize = 8;

/// Pauses between rounds.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Pause before a busy server is asked again, and how often it is.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const BUSY_TRIES: usize = 40;

/// What was asked, and what was seen.
pub(super) struct Survey {
    /// Servers that answered every question so far, with the life that each was
    /// in at the start.
    pub(super) asked: Vec<(Server, u64)>,
    /// Servers that did not, and why; they are asked no more.
    pub(super) lost: Vec<(Server, Failure)>,
    /// Ranges that were not seen equal yet, in order.
    pub(super) open: Vec<Open>,
    /// Clients in ranges that were.
    pub(super) proven_clients: u64,
    /// Number of those ranges.
    pub(super) proven_ranges: u64,
    pub(super) rounds: u64,
}

impl Survey {
    pub(super) fn new((asked, lost): Identified) -> Self {
        Self {
            asked,
            lost,
            open: vec![Open {
                range: ranges::Range::ALL,
                clients: 0,
            }],
            proven_clients: 0,
            proven_ranges: 0,
            rounds: 0,
        }
    }

    /// Is there anybody to compare with?
    pub(super) fn compares(&self) -> bool {
        self.asked.len() > 1
    }

    /// Asks until every range was seen equal, or the time is over, or all
    /// servers but one are lost.
    pub(super) async fn run(&mut self, deadline: Instant) {
        let mut pause = FIRST_PAUSE;
        let mut questions = ranges::first();
        while self.compares() {
            self.round(questions, deadline).await;
            if self.open.is_empty() || Instant::now() + pause >= deadline {
                return;
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            questions = ranges::plan(&self.open);
        }
    }

    /// Puts these questions. Those that the deadline keeps from being put leave
    /// their ranges open; the first round is put whole.
    async fn round(&mut self, questions: Vec<RangeQuery>, deadline: Instant) {
        self.rounds += 1;
        let is_first = self.rounds == 1;
        let mut waiting = questions.into_iter();
        let mut under_way = JoinSet::new();
        self.open.clear();
        loop {
            let in_time = || is_first || Instant::now() < deadline;
            while under_way.len() < AT_ONCE
                && in_time()
                && let Some(question) = waiting.next()
            {
                under_way.spawn(put(question, self.servers()));
            }
            let Some(answered) = under_way.join_next().await else {
                break;
            };
            let (question, answers) =
                answered.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            let answers = self.valid(&question, answers);
            self.judge(&question, &answers);
        }
        for question in waiting {
            self.judge(&question, &[]);
        }
        self.open.sort_by_key(|open| open.range);
    }

    fn servers(&self) -> Vec<Server> {
        self.asked
            .iter()
            .map(|(server, _)| server.clone())
            .collect()
    }

    /// The answers that can be compared. A server whose answer can not is lost.
    fn valid(&mut self, question: &RangeQuery, answers: Answers) -> Vec<DigestResponse> {
        let mut valid = Vec::new();
        for (title, answer) in answers {
            let Some(at) = self
                .asked
                .iter()
                .position(|(server, _)| server.title() == title)
            else {
                continue;
            };
            match answer.and_then(|answer| check(answer, question, self.asked[at].1)) {
                Ok(answer) => valid.push(answer),
                Err(failure) => {
                    let (server, _) = self.asked.remove(at);
                    self.lost.push((server, failure));
                }
            }
        }
        valid
    }

    /// Sorts what was open before a question into proven and open. One answer
    /// alone proves nothing.
    fn judge(&mut self, question: &RangeQuery, answers: &[DigestResponse]) {
        for (i, (range, is_open)) in question.buckets().enumerate() {
            if !is_open {
                continue;
            }
            let mut held = answers.iter().map(|answer| &answer.buckets[i]);
            let clients = held.clone().map(|bucket| bucket.clients).max().unwrap_or(0);
            let first = held.next();
            let is_equal =
                first.is_some_and(|first| held.len() > 0 && held.all(|b| same(first, b)));
            if is_equal {
                self.proven_clients += clients;
                self.proven_ranges += 1;
            } else {
                self.open.push(Open { range, clients });
            }
        }
    }
}

fn same(one: &Bucket, other: &Bucket) -> bool {
    one.clients == other.clients && one.sum == other.sum
}

/// Servers, and what they answered.
type Answers = Vec<(String, Result<DigestResponse, Failure>)>;

/// Puts a question to all servers at once.
async fn put(question: RangeQuery, servers: Vec<Server>) -> (RangeQuery, Answers) {
    let request = question.request();
    let answers = ask_all(&servers, |server| patiently(server, request)).await;
    let titles = servers.iter().map(Server::title);
    (question, titles.zip(answers).collect())
}

/// Asks a server again while it is busy.
async fn patiently(server: Server, request: DigestRequest) -> Result<DigestResponse, Failure> {
    for _ in 0..BUSY_TRIES {
        match server.digest(request).await {
            Err(Failure::Busy) => sleep(BUSY_PAUSE).await,
            answered => return answered,
        }
    }
    Err(Failure::Busy)
}

/// Is this the answer to the question, from the life that the server was in?
fn check(
    answer: DigestResponse,
    question: &RangeQuery,
    life: u64,
) -> Result<DigestResponse, Failure> {
    if answer.incarnation != life {
        return Err(Failure::Restarted);
    }
    let asked = question
        .buckets()
        .map(|(range, _)| (range.first, range.last()));
    let got = answer
        .buckets
        .iter()
        .map(|bucket| (bucket.first_hash, bucket.last_hash));
    match asked.eq(got) {
        true => Ok(answer),
        false => Err(Failure::Nonsense(
            "it has other buckets than were asked for".to_owned(),
        )),
    }
}
