//! The check after a load that the newest report of every client is at every server, and
//! the time until then.
//!
//! Each server is queried for each client, in the order of the last reports, newest first,
//! and repeatedly for those that it does not hold yet. A pass takes time, so the result has
//! two bounds: the last time at which a report was missing, and the time at which all
//! reports were found.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::answer::at_line;
use super::dial::Connector;
use super::load::{LoadResult, Reported};
use super::payload::Payload;
use super::run_state::{RunState, Stage};
use super::settings::BenchSettings;
use crate::model::address::Address;

/// The number of pipelined queries.
const QUERY_BATCH: usize = 64;

/// The pause before the next pass over missing reports.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// The results of the check.
#[derive(Serialize)]
pub(super) struct Convergence {
    /// The number of reports that were looked up at every server.
    pub(super) clients: usize,
    /// The time from the load's end until every server had every report. `None` if a report
    /// was missing to the end, or if a check failed.
    #[serde(rename = "everywhere_seconds", serialize_with = "optional_seconds")]
    pub(super) everywhere: Option<u64>,
    /// One entry for each server, in the order of the settings.
    pub(super) servers: Vec<ServerConvergence>,
}

/// The results of the check for one server. Times are nanoseconds from the load's end.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServerConvergence {
    address: String,
    /// The server's name in its AT lines, or its address.
    pub(super) name: String,
    /// The number of reports that the server never returned.
    pub(super) missing: u64,
    /// The time at which a report was last missing; 0 if none was.
    #[serde(rename = "last_missing_seconds", serialize_with = "seconds")]
    pub(super) last_missing: u64,
    /// The time at which the last report was found.
    #[serde(rename = "complete_seconds", serialize_with = "seconds")]
    pub(super) complete: u64,
    /// The reason why the check could not be completed.
    pub(super) error: Option<String>,
}

/// Looks up the newest report of every client at every server, and repeats this for missing
/// ones. The last pass is the first that begins after the time limit.
pub(super) fn check(settings: &BenchSettings, loaded: &LoadResult, run: &RunState) -> Convergence {
    run.enter(Stage::Converging);
    let mut reported = loaded.reported.clone();
    reported.sort_unstable_by_key(|report| std::cmp::Reverse(report.nanos));
    let tallies = loaded.tally.servers.iter();
    let names: Vec<_> = tallies.map(|server| server.name.clone()).collect();
    let (reported, names) = (reported.as_slice(), names.as_slice());
    let servers: Vec<_> = thread::scope(|scope| {
        let checks: Vec<_> = (settings.servers.iter().zip(names))
            .map(|(server, name)| {
                let checker = Checker {
                    payload: settings.payload("0", 0),
                    names,
                    ended: loaded.ended,
                    timeout: settings.timeout,
                    run,
                    found: ServerConvergence::new(server, name.as_deref()),
                    text: Vec::new(),
                };
                scope.spawn(|| checker.run(server, reported))
            })
            .collect();
        let join = |check: thread::ScopedJoinHandle<'_, ServerConvergence>| {
            check
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        checks.into_iter().map(join).collect()
    });
    let is_complete = |server: &ServerConvergence| server.missing == 0 && server.error.is_none();
    let complete = servers.iter().map(|server| server.complete).max();
    Convergence {
        clients: reported.len(),
        everywhere: complete.filter(|_| servers.iter().all(is_complete)),
        servers,
    }
}

impl ServerConvergence {
    fn new(server: &Address, name: Option<&str>) -> Self {
        let address = server.to_string();
        Self {
            name: name.unwrap_or(&address).to_owned(),
            address,
            missing: 0,
            last_missing: 0,
            complete: 0,
            error: None,
        }
    }
}

fn seconds<S: Serializer>(nanos: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*nanos as f64 / 1e9)
}

fn optional_seconds<S: Serializer>(nanos: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    nanos.map(|nanos| nanos as f64 / 1e9).serialize(serializer)
}

/// The lookups at one server.
struct Checker<'a> {
    payload: Payload,
    names: &'a [Option<String>],
    ended: u64,
    timeout: u64,
    run: &'a RunState,
    found: ServerConvergence,
    text: Vec<u8>,
}

impl Checker<'_> {
    fn run(mut self, server: &Address, reported: &[Reported]) -> ServerConvergence {
        let connected = Connector::new(std::slice::from_ref(server), self.timeout, self.run)
            .and_then(|connector| connector.connect(0));
        let checked = connected
            .map_err(|error| error.to_string())
            .and_then(|stream| {
                let checked = self.check(&stream, reported);
                checked.map_err(|error| error.to_string())
            });
        self.found.error = checked.err();
        self.found
    }

    fn check(&mut self, stream: &TcpStream, reported: &[Reported]) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_nanos(self.timeout)))?;
        let mut answers = BufReader::with_capacity(64 * 1024, stream);
        let mut pending = reported.to_vec();
        self.found.missing = pending.len() as u64;
        loop {
            // With many clients one pass may take longer than the limit, and reports that
            // were missing early in it may have arrived since.
            let is_last = self.since_end() > self.timeout;
            let mut missing = Vec::new();
            for batch in pending.chunks(QUERY_BATCH) {
                self.query(stream, &mut answers, batch, &mut missing)?;
                if self.run.is_stopped() {
                    return Ok(());
                }
            }
            if missing.is_empty() || is_last {
                return Ok(());
            }
            pending = missing;
            thread::sleep(RETRY_INTERVAL);
        }
    }

    /// Queries a batch of clients, and appends those whose report is missing to `missing`.
    fn query(
        &mut self,
        mut stream: &TcpStream,
        answers: &mut impl BufRead,
        batch: &[Reported],
        missing: &mut Vec<Reported>,
    ) -> io::Result<()> {
        self.text.clear();
        for report in batch {
            self.payload.whatsat(&mut self.text, report.client);
        }
        stream.write_all(&self.text)?;
        for report in batch {
            if self.has_report(answers, report)? {
                self.found.missing -= 1;
                self.found.complete = self.since_end();
            } else {
                self.found.last_missing = self.since_end();
                missing.push(*report);
            }
        }
        self.run.count(batch.len() as u64);
        Ok(())
    }

    fn has_report(&mut self, answers: &mut impl BufRead, report: &Reported) -> io::Result<bool> {
        let mut line = Vec::new();
        read_line(answers, &mut line)?;
        let mut skipped = Vec::new();
        while line.starts_with(b"AT ") && skipped != b"\n" {
            skipped.clear();
            read_line(answers, &mut skipped)?;
        }
        self.text.clear();
        self.payload
            .iamat(&mut self.text, report.client, report.nanos);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let name = at_line(line, Payload::fields(&self.text));
        let origin = self.names[report.server].as_ref();
        Ok(name.is_ok_and(|name| origin.is_none_or(|origin| origin.as_bytes() == name)))
    }

    fn since_end(&self) -> u64 {
        self.run.clock.now().saturating_sub(self.ended)
    }
}

fn read_line(answers: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    match answers.read_until(b'\n', line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
