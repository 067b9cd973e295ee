//! How long a report takes to be known at the other servers.
//!
//! One report at a time goes to one server, each server in its turn. From that
//! moment on every other server is asked for it, one question at a time and the
//! next as soon as the answer is there. The time of a server is that of the
//! first answer that shows the report, so it is too high by up to one question's
//! way there and back, which is told as the resolution. One thread asks all of
//! them side by side, and no server waits for another's answer. The questions
//! are a load of their own: servers that share cores with each other and with
//! this are slowed by them.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::answer::{self, AnswerError};
use super::dial::connect_nonblocking;
use super::error::BenchError;
use super::payload::{Payload, scatter};
use super::settings::{BenchSettings, Length};
use super::shared::{Shared, Stage};
use super::tally::{Faults, MAX_EXAMPLES, Times};
use super::window::shown;

/// How often the end of the measurement is looked for while nothing comes.
const TICK: Duration = Duration::from_millis(50);

/// Between two reports: between one and three milliseconds, so that they do
/// not fall into step with anything.
const PAUSE: u64 = 1_000_000;

/// What came of it.
pub(super) struct Spread {
    /// Reports that were sent.
    pub(super) rounds: u64,
    /// Reports that were not everywhere within the time limit.
    pub(super) late: u64,
    /// Until the last server knew.
    pub(super) everywhere: Times,
    /// Until each server knew, when it was not the one that was told.
    pub(super) servers: Vec<Times>,
    pub(super) names: Vec<Option<String>>,
    /// What one question took.
    pub(super) resolution: Times,
    pub(super) faults: Faults,
    pub(super) examples: Vec<String>,
}

/// A connection to one server.
struct Probe {
    stream: TcpStream,
    bytes: Vec<u8>,
    asked: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was told, and has not answered.
    Told,
    /// It was asked, and has not answered.
    Asked,
    /// It was asked in vain before the time limit, and has not answered.
    TooLate,
    /// It answered, and knows.
    Done,
}

/// Measures until `length`, and beneath a load until that is over.
pub(super) fn run(
    settings: &BenchSettings,
    length: Length,
    shared: &Arc<Shared>,
) -> Result<Spread, BenchError> {
    let mut spreader = Spreader::connect(settings, shared)?;
    match settings.load {
        None => shared.enter(Stage::Spreading),
        Some(_) => await_load(shared),
    }
    let start = shared.clock.now();
    let is_over = |rounds, now| match length {
        Length::Requests(most) => rounds >= most,
        Length::Time(most) => now - start >= most,
    };
    while !shared.is_stopped()
        && !shared.is_load_over()
        && !is_over(spreader.spread.rounds, shared.clock.now())
    {
        if !spreader.round()? {
            break;
        }
        if settings.load.is_none() {
            shared.count(1);
        }
        let chance = scatter(spreader.spread.rounds) % (2 * PAUSE);
        thread::sleep(Duration::from_nanos(PAUSE + chance));
    }
    Ok(spreader.spread)
}

fn await_load(shared: &Shared) {
    let is_early = || matches!(shared.stage(), Stage::Introducing | Stage::Warming);
    while is_early() && !shared.is_load_over() && !shared.is_stopped() {
        thread::sleep(Duration::from_millis(2));
    }
}

struct Spreader {
    poll: Poll,
    events: Events,
    probes: Vec<Probe>,
    payload: Payload,
    client: u32,
    question: Vec<u8>,
    report: Vec<u8>,
    last_nanos: u64,
    timeout: u64,
    shared: Arc<Shared>,
    spread: Spread,
}

impl Spreader {
    fn connect(settings: &BenchSettings, shared: &Arc<Shared>) -> Result<Self, BenchError> {
        let poll = Poll::new()?;
        let mut probes = Vec::new();
        for (place, server) in settings.servers.iter().enumerate() {
            let stream = connect_nonblocking(server, settings.timeout)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(place), Interest::READABLE)?;
            probes.push(Probe {
                stream,
                bytes: Vec::new(),
                asked: 0,
                state: State::Done,
            });
        }
        let payload = Payload::new(&settings.prefix, settings.id_length, "0", 0);
        // The last of all that IDs can count: no load speaks for it.
        let most = Payload::most_clients(&settings.prefix, settings.id_length);
        let client = (most - 1) as u32;
        let mut question = Vec::new();
        payload.whatsat(&mut question, client);
        let count = settings.servers.len();
        Ok(Self {
            poll,
            events: Events::with_capacity(count),
            probes,
            payload,
            client,
            question,
            report: Vec::new(),
            last_nanos: 0,
            timeout: settings.timeout,
            shared: shared.clone(),
            spread: Spread {
                rounds: 0,
                late: 0,
                everywhere: Times::new(),
                servers: vec![Times::new(); count],
                names: vec![None; count],
                resolution: Times::new(),
                faults: Faults::default(),
                examples: Vec::new(),
            },
        })
    }

    /// Sends one report, and asks until it is everywhere. Gives whether there
    /// can be another round.
    fn round(&mut self) -> io::Result<bool> {
        let source = (self.spread.rounds % self.probes.len() as u64) as usize;
        self.spread.rounds += 1;
        let start = self.begin(source);
        loop {
            let busy = |probe: &Probe| probe.state != State::Done;
            if !self.probes.iter().any(busy) {
                break;
            }
            if self.spread.faults.broken > 0 || !self.in_time(start) {
                return Ok(false);
            }
            match self.poll.poll(&mut self.events, Some(TICK)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
            for place in ready {
                self.take(place, start);
            }
        }
        Ok(true)
    }

    /// Tells one server, and asks the others.
    fn begin(&mut self, source: usize) -> u64 {
        let start = self.shared.clock.now();
        self.last_nanos = self.shared.clock.unix(start).max(self.last_nanos + 1);
        self.report.clear();
        self.payload
            .iamat(&mut self.report, self.client, self.last_nanos);
        let start = self.shared.clock.now();
        self.say(source, State::Told);
        for place in (0..self.probes.len()).filter(|&place| place != source) {
            self.say(place, State::Asked);
        }
        start
    }

    fn say(&mut self, place: usize, state: State) {
        let probe = &mut self.probes[place];
        let line = match state {
            State::Told => &self.report,
            _ => &self.question,
        };
        probe.state = state;
        probe.asked = self.shared.clock.now();
        // A line fits into a socket that holds nothing else.
        if let Err(error) = probe.stream.write_all(line) {
            self.broke(place, &error.to_string());
        }
    }

    /// Past the time limit nothing more is asked; past twice of it, nothing is
    /// waited for.
    fn in_time(&mut self, start: u64) -> bool {
        let waited = self.shared.clock.now() - start;
        if waited < self.timeout && !self.shared.is_stopped() {
            return true;
        }
        let mut is_late = false;
        for probe in &mut self.probes {
            is_late |= probe.state == State::Asked;
            if probe.state == State::Asked {
                probe.state = State::TooLate;
            }
        }
        if is_late && !self.shared.is_stopped() {
            self.spread.late += 1;
        }
        let mut silent = (0..self.probes.len()).filter(|&at| self.probes[at].state != State::Done);
        let silent = silent.next();
        if let Some(place) = silent.filter(|_| waited > 2 * self.timeout) {
            self.broke(place, "it did not answer in time");
            return false;
        }
        true
    }

    /// Takes what a server has said.
    fn take(&mut self, place: usize, start: u64) {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.probes[place].stream.read(&mut piece) {
                Ok(0) => return self.broke(place, "the server closed it"),
                Ok(read) => self.probes[place].bytes.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.broke(place, &error.to_string()),
            }
            let now = self.shared.clock.now();
            if self.is_complete(place) {
                let answer = std::mem::take(&mut self.probes[place].bytes);
                self.judge(place, &answer, now, start);
                self.probes[place].bytes = answer;
                self.probes[place].bytes.clear();
            }
        }
    }

    fn is_complete(&self, place: usize) -> bool {
        let Probe { bytes, state, .. } = &self.probes[place];
        let is_question = *state != State::Told;
        match answer::line_end(bytes) {
            Some(_) if is_question && bytes.starts_with(b"AT ") => bytes.ends_with(b"\n\n"),
            Some(_) => bytes.ends_with(b"\n"),
            None => false,
        }
    }

    fn judge(&mut self, place: usize, answer: &[u8], now: u64, start: u64) {
        let line = answer.split(|&byte| byte == b'\n').next();
        let at_line = answer::at_line(line.unwrap_or_default(), Payload::fields(&self.report));
        match (self.probes[place].state, at_line) {
            (State::Told, Ok(name)) => {
                self.spread.names[place].get_or_insert_with(|| shown(name));
                self.done(place, now, start);
            }
            (State::Told, Err(wrong)) => self.complain(place, answer, wrong),
            (State::Asked, Ok(_)) => {
                self.spread.servers[place].record(now - start, 1);
                self.note_question(place, now);
                self.done(place, now, start);
            }
            // An older report, or none: it does not know yet.
            (State::Asked, Err(AnswerError::OtherFields | AnswerError::Refused)) => {
                self.note_question(place, now);
                self.say(place, State::Asked);
            }
            (State::Asked, Err(wrong)) => self.complain(place, answer, wrong),
            (State::TooLate, _) => self.probes[place].state = State::Done,
            (State::Done, _) => self.spread.faults.unexpected += 1,
        }
    }

    fn note_question(&mut self, place: usize, now: u64) {
        let took = now - self.probes[place].asked;
        self.spread.resolution.record(took, 1);
    }

    /// This one knows; after the last of all, the report is everywhere.
    fn done(&mut self, place: usize, now: u64, start: u64) {
        let was_asked = self.probes[place].state == State::Asked;
        self.probes[place].state = State::Done;
        let asked = |probe: &Probe| matches!(probe.state, State::Asked | State::TooLate);
        if was_asked && !self.probes.iter().any(asked) {
            self.spread.everywhere.record(now - start, 1);
        }
    }

    fn complain(&mut self, place: usize, answer: &[u8], wrong: AnswerError) {
        self.probes[place].state = State::Done;
        self.spread.faults.wrong += 1;
        self.example(format!(
            "server {} answered \"{}\": {wrong}",
            place + 1,
            shown(answer)
        ));
    }

    fn broke(&mut self, place: usize, why: &str) {
        self.probes[place].state = State::Done;
        self.spread.faults.broken += 1;
        self.example(format!(
            "the connection to server {} broke: {why}",
            place + 1
        ));
    }

    fn example(&mut self, words: String) {
        if self.spread.examples.len() < MAX_EXAMPLES {
            self.spread.examples.push(words);
        }
    }
}
