//! The time until a report is at the other servers.
//!
//! Single reports go to one server each, in turn. From that moment on every other server is
//! queried for the report, one query at a time and the next right after each answer. The
//! time of a server is that of the first answer with the report. It is therefore too high
//! by up to the time of one query, which the results contain as the resolution. One thread
//! queries all servers side by side, and no server waits for another's answer. The queries
//! are a load of their own: they slow servers that share cores with each other or with this
//! process.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;

use super::answer::{self, AnswerError};
use super::dial::Connector;
use super::error::BenchError;
use super::payload::Payload;
use super::run_state::{RunState, Stage};
use super::settings::{BenchSettings, Length};
use super::tally::{Faults, Latencies, MAX_EXAMPLES};
use super::walk::scatter;
use super::window::excerpt;

/// The interval between two checks of the time limit while no answer arrives.
const TIMEOUT_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The shortest interval between two reports. Up to twice as much is added at random, so
/// that reports do not fall into step with periodic work of the servers.
const MIN_REPORT_INTERVAL_NANOS: u64 = 1_000_000;

/// The interval between two checks whether the load has begun.
const LOAD_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// The results of a spread.
#[derive(Serialize)]
pub(super) struct Spread {
    /// The number of reports.
    #[serde(rename = "reports")]
    pub(super) rounds: u64,
    /// The number of reports that did not reach every server within the time limit.
    pub(super) late: u64,
    /// The times until the last server had the report.
    #[serde(rename = "everywhere_us")]
    pub(super) everywhere: Latencies,
    /// The times of single queries.
    #[serde(rename = "resolution_us")]
    pub(super) resolution: Latencies,
    /// One entry for each server, in the order of the settings.
    pub(super) servers: Vec<SpreadServer>,
    #[serde(skip)]
    pub(super) faults: Faults,
    #[serde(skip)]
    pub(super) examples: Vec<String>,
}

/// The results of a spread for one server.
#[derive(Serialize)]
pub(super) struct SpreadServer {
    address: String,
    /// The server's name in its AT lines; its address before the first one.
    pub(super) name: String,
    /// The times until the server had reports of other servers.
    #[serde(rename = "us")]
    pub(super) times: Latencies,
}

/// A connection to one server.
struct Probe {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The time of the last request, in nanoseconds on the clock of the run.
    sent: u64,
    state: ProbeState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ProbeState {
    /// The report is sent and not answered.
    Reporting,
    /// A query is sent and not answered.
    Querying,
    /// The time limit has passed, and the last query is not answered.
    Late,
    /// The server has the report.
    Done,
}

/// Measures until `length`, or until the end of the load if one runs.
///
/// # Errors
///
/// Fails if a server is unreachable, or if a poll fails.
pub(super) fn run(
    settings: &BenchSettings,
    length: Length,
    run: &Arc<RunState>,
) -> Result<Spread, BenchError> {
    let mut spreader = Spreader::connect(settings, run)?;
    match settings.load {
        None => run.enter(Stage::Spreading),
        Some(_) => await_measured_load(run),
    }
    let start = run.clock.now();
    let is_over = |rounds, now| match length {
        Length::Requests(count) => rounds >= count,
        Length::Time(nanos) => now - start >= nanos,
    };
    while !run.is_stopped()
        && !run.is_load_over()
        && !is_over(spreader.spread.rounds, run.clock.now())
    {
        if !spreader.round()? {
            break;
        }
        if settings.load.is_none() {
            run.count(1);
        }
        let jitter = scatter(spreader.spread.rounds) % (2 * MIN_REPORT_INTERVAL_NANOS);
        thread::sleep(Duration::from_nanos(MIN_REPORT_INTERVAL_NANOS + jitter));
    }
    Ok(spreader.spread)
}

fn await_measured_load(run: &RunState) {
    let is_early = || matches!(run.stage(), Stage::Preloading | Stage::Warming);
    while is_early() && !run.is_load_over() && !run.is_stopped() {
        thread::sleep(LOAD_CHECK_INTERVAL);
    }
}

struct Spreader {
    poll: Poll,
    events: Events,
    probes: Vec<Probe>,
    payload: Payload,
    client: u32,
    query: Vec<u8>,
    report: Vec<u8>,
    last_nanos: u64,
    timeout: u64,
    run: Arc<RunState>,
    spread: Spread,
}

impl Spreader {
    fn connect(settings: &BenchSettings, run: &Arc<RunState>) -> Result<Self, BenchError> {
        let poll = Poll::new()?;
        let mut probes = Vec::new();
        let connector = Connector::new(&settings.servers, settings.timeout, run)?;
        for index in 0..settings.servers.len() {
            let mut stream = TcpStream::from_std(connector.connect(index)?);
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE)?;
            probes.push(Probe {
                stream,
                bytes: Vec::new(),
                sent: 0,
                state: ProbeState::Done,
            });
        }
        let payload = settings.payload("0", 0);
        // The last of all possible clients, which no load uses.
        let max_clients = Payload::max_clients(&settings.prefix, settings.id_length);
        let client = (max_clients - 1) as u32;
        let mut query = Vec::new();
        payload.whatsat(&mut query, client);
        let servers = settings.servers.iter().map(|server| SpreadServer {
            address: server.to_string(),
            name: server.to_string(),
            times: Latencies::new(),
        });
        Ok(Self {
            poll,
            events: Events::with_capacity(settings.servers.len()),
            probes,
            payload,
            client,
            query,
            report: Vec::new(),
            last_nanos: 0,
            timeout: settings.timeout,
            run: run.clone(),
            spread: Spread {
                rounds: 0,
                late: 0,
                everywhere: Latencies::new(),
                resolution: Latencies::new(),
                servers: servers.collect(),
                faults: Faults::default(),
                examples: Vec::new(),
            },
        })
    }

    /// Sends one report, and queries until every server has it. Returns false if there can
    /// be no further round.
    fn round(&mut self) -> io::Result<bool> {
        let source = (self.spread.rounds % self.probes.len() as u64) as usize;
        self.spread.rounds += 1;
        let start = self.begin(source);
        loop {
            let is_busy = |probe: &Probe| probe.state != ProbeState::Done;
            if !self.probes.iter().any(is_busy) {
                break;
            }
            if self.spread.faults.broken > 0 || !self.check_timeout(start) {
                return Ok(false);
            }
            match self
                .poll
                .poll(&mut self.events, Some(TIMEOUT_CHECK_INTERVAL))
            {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
            for index in ready {
                self.take(index, start);
            }
        }
        Ok(true)
    }

    /// Sends a new report to server `source` and the query to all others. Returns the start
    /// of the round.
    fn begin(&mut self, source: usize) -> u64 {
        let unix = self.run.clock.unix(self.run.clock.now());
        self.last_nanos = unix.max(self.last_nanos + 1);
        self.report.clear();
        self.payload
            .iamat(&mut self.report, self.client, self.last_nanos);
        let start = self.run.clock.now();
        self.send(source, ProbeState::Reporting);
        for index in (0..self.probes.len()).filter(|&index| index != source) {
            self.send(index, ProbeState::Querying);
        }
        start
    }

    fn send(&mut self, index: usize, state: ProbeState) {
        let probe = &mut self.probes[index];
        let line = match state {
            ProbeState::Reporting => &self.report,
            _ => &self.query,
        };
        probe.state = state;
        probe.sent = self.run.clock.now();
        // The send buffer is empty, so it takes a whole line.
        if let Err(error) = probe.stream.write_all(line) {
            self.end(index, &error.to_string());
        }
    }

    /// Stops querying after the time limit. Returns false after twice the time limit, if an
    /// answer is still missing.
    fn check_timeout(&mut self, start: u64) -> bool {
        let waited = self.run.clock.now() - start;
        if waited < self.timeout && !self.run.is_stopped() {
            return true;
        }
        let mut is_late = false;
        for probe in &mut self.probes {
            if probe.state == ProbeState::Querying {
                probe.state = ProbeState::Late;
                is_late = true;
            }
        }
        if is_late && !self.run.is_stopped() {
            self.spread.late += 1;
        }
        let is_silent = |probe: &Probe| probe.state != ProbeState::Done;
        let silent = self.probes.iter().position(is_silent);
        if let Some(index) = silent.filter(|_| waited > 2 * self.timeout) {
            self.end(index, "no answer within the time limit");
            return false;
        }
        true
    }

    /// Takes the answer of a server, if it is complete.
    fn take(&mut self, index: usize, start: u64) {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.probes[index].stream.read(&mut piece) {
                Ok(0) => return self.end(index, "closed by the server"),
                Ok(read) => self.probes[index].bytes.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.end(index, &error.to_string()),
            }
            let now = self.run.clock.now();
            if self.is_complete(index) {
                let answer = std::mem::take(&mut self.probes[index].bytes);
                self.accept(index, &answer, now, start);
                self.probes[index].bytes = answer;
                self.probes[index].bytes.clear();
            }
        }
    }

    fn is_complete(&self, index: usize) -> bool {
        let Probe { bytes, state, .. } = &self.probes[index];
        let is_query = *state != ProbeState::Reporting;
        match answer::line_end(bytes) {
            Some(_) if is_query && bytes.starts_with(b"AT ") => bytes.ends_with(b"\n\n"),
            Some(_) => bytes.ends_with(b"\n"),
            None => false,
        }
    }

    fn accept(&mut self, index: usize, answer: &[u8], now: u64, start: u64) {
        let line = answer.split(|&byte| byte == b'\n').next();
        let at_line = answer::at_line(line.unwrap_or_default(), Payload::fields(&self.report));
        match (self.probes[index].state, at_line) {
            (ProbeState::Reporting, Ok(name)) => {
                self.spread.servers[index].name = excerpt(name);
                self.finish(index, now, start);
            }
            (ProbeState::Querying, Ok(_)) => {
                self.spread.servers[index].times.record(now - start, 1);
                self.record_query(index, now);
                self.finish(index, now, start);
            }
            // The server has an older report or none.
            (ProbeState::Querying, Err(AnswerError::OtherFields | AnswerError::Rejected)) => {
                self.record_query(index, now);
                self.send(index, ProbeState::Querying);
            }
            (ProbeState::Reporting | ProbeState::Querying, Err(error)) => {
                self.count_wrong(index, answer, error);
            }
            (ProbeState::Late, _) => self.probes[index].state = ProbeState::Done,
            (ProbeState::Done, _) => self.spread.faults.unexpected += 1,
        }
    }

    fn record_query(&mut self, index: usize, now: u64) {
        let took = now - self.probes[index].sent;
        self.spread.resolution.record(took, 1);
    }

    /// Marks a server as done. The last queried one completes the round.
    fn finish(&mut self, index: usize, now: u64, start: u64) {
        let was_queried = self.probes[index].state == ProbeState::Querying;
        self.probes[index].state = ProbeState::Done;
        let is_queried =
            |probe: &Probe| matches!(probe.state, ProbeState::Querying | ProbeState::Late);
        if was_queried && !self.probes.iter().any(is_queried) {
            self.spread.everywhere.record(now - start, 1);
        }
    }

    fn count_wrong(&mut self, index: usize, answer: &[u8], error: AnswerError) {
        self.probes[index].state = ProbeState::Done;
        self.spread.faults.wrong += 1;
        let (server, answer) = (index + 1, excerpt(answer));
        self.add_example(format!("server {server} answered \"{answer}\": {error}"));
    }

    fn end(&mut self, index: usize, why: &str) {
        self.probes[index].state = ProbeState::Done;
        self.spread.faults.broken += 1;
        let server = index + 1;
        self.add_example(format!("the connection to server {server} broke: {why}"));
    }

    fn add_example(&mut self, text: String) {
        if self.spread.examples.len() < MAX_EXAMPLES {
            self.spread.examples.push(text);
        }
    }
}
