//! One thread of a load: waits for its connections, takes answers, and sends requests.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::connection::{ConnectionError, LoadConnection};
use super::pacing::Pacing;
use super::run_state::{RunState, Stage};
use super::settings::{Length, Load};
use super::tally::Tally;
use super::timer::Timer;
use super::window::WorkerState;
use super::work::{ClosedLoop, Work};

/// The maximum interval between two housekeeping runs.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(50);

/// The maximum number of events of one poll.
const MAX_EVENTS: usize = 1024;

/// The token of the timer. Tokens of connections are their indices.
const TIMER: Token = Token(usize::MAX);

/// One thread and its connections.
pub(super) struct Worker {
    poll: Poll,
    timer: Timer,
    connections: Vec<LoadConnection>,
    state: WorkerState,
    buffer: Vec<u8>,
    run: Arc<RunState>,
    load: Load,
    /// The number of counted requests that this thread sends, if a number of requests ends
    /// the load.
    share: u64,
    /// The current turn of an open-loop schedule.
    turn: u64,
    /// The connection whose request is next in that turn.
    next: usize,
    last_housekeeping: u64,
    /// The number of connections that are not broken.
    open: usize,
}

/// The results of a thread.
pub(super) struct WorkerResult {
    pub(super) tally: Tally,
    pub(super) connections: Vec<LoadConnection>,
}

impl Worker {
    pub(super) fn new(
        mut connections: Vec<LoadConnection>,
        state: WorkerState,
        load: &Load,
        share: u64,
        run: Arc<RunState>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (index, connection) in connections.iter_mut().enumerate() {
            connection.register(poll.registry(), Token(index))?;
        }
        Ok(Self {
            timer: Timer::new(poll.registry(), TIMER)?,
            poll,
            open: connections.len(),
            connections,
            state,
            buffer: Vec::new(),
            run,
            load: load.clone(),
            share,
            turn: 0,
            next: 0,
            last_housekeeping: 0,
        })
    }

    /// Runs the preload and the load.
    ///
    /// # Errors
    ///
    /// Returns the system's error if a poll or a timer fails.
    pub(super) fn run(mut self) -> io::Result<WorkerResult> {
        let preloaded = self.drive(&mut Work::Preload);
        let start = self.run.start_together();
        preloaded?;
        let mut work = self.work(start);
        self.drive(&mut work)?;
        if let Work::Open { pacing, .. } = work {
            self.count_unsent(&pacing);
        }
        Ok(WorkerResult {
            tally: self.state.tally,
            connections: self.connections,
        })
    }

    /// Returns the work of the load that begins at `start`.
    fn work(&mut self, start: u64) -> Work {
        let load = &self.load;
        let measured_from = start + load.warmup;
        self.state.tally.measured_from = measured_from;
        if let Some(rate) = load.rate {
            let requests = |nanos: u64| (nanos as f64 / 1e9 * rate as f64).round() as u64;
            let count = match load.length {
                Length::Requests(count) => count,
                Length::Time(nanos) => requests(nanos),
            };
            let warm = requests(load.warmup);
            let pacing = Pacing::new(start, rate, load.connections, warm, count);
            self.state.tally.measured_from = pacing.measured_from();
            return Work::Open {
                pacing,
                pipeline: load.pipeline,
                is_over: false,
            };
        }
        let (end, left) = match load.length {
            Length::Requests(_) => (u64::MAX, self.share),
            Length::Time(nanos) => (measured_from + nanos, u64::MAX),
        };
        Work::Closed(ClosedLoop {
            pipeline: load.pipeline,
            measured_from,
            end,
            left,
        })
    }

    /// Works until all requests are sent, and answered or abandoned.
    fn drive(&mut self, work: &mut Work) -> io::Result<()> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        for index in 0..self.connections.len() {
            self.send(index, work);
        }
        loop {
            let timeout = self.send_due(work)?;
            let now = self.run.clock.now();
            let is_over = self.run.is_stopped() || work.is_over(now);
            if is_over || matches!(work, Work::Preload) {
                let is_waiting = |connection: &LoadConnection| !connection.window.is_empty();
                if !self.connections.iter().any(is_waiting) {
                    return Ok(());
                }
            }
            if self.open == 0 {
                return Ok(());
            }
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in events.iter().filter(|event| event.token() != TIMER) {
                self.serve(event, work);
            }
            self.housekeep();
        }
    }

    /// Takes the answers on a connection, and sends its next requests.
    fn serve(&mut self, event: &Event, work: &mut Work) {
        let index = event.token().0;
        let connection = &mut self.connections[index];
        if connection.is_broken {
            return;
        }
        if event.is_readable() {
            let to_the_end = event.is_read_closed() || event.is_error();
            let (clock, state) = (&self.run.clock, &mut self.state);
            let read = connection.read(to_the_end, &mut self.buffer, clock, state);
            if let Err(broken) = read {
                return self.end(index, &broken);
            }
        }
        self.send(index, work);
    }

    fn send(&mut self, index: usize, work: &mut Work) {
        let (connection, clock) = (&mut self.connections[index], &self.run.clock);
        if connection.is_broken {
            return;
        }
        let now = clock.now();
        if !self.run.is_stopped() && !work.is_over(now) {
            work.hand_out(connection, now, clock.unix(now), &mut self.state);
        }
        if let Err(broken) = connection.write() {
            self.end(index, &broken);
        }
    }

    fn end(&mut self, index: usize, broken: &ConnectionError) {
        self.open -= 1;
        self.connections[index].end(broken, &mut self.state);
    }

    /// Sends the due requests of an open-loop load. Returns the timeout of the next poll.
    fn send_due(&mut self, work: &mut Work) -> io::Result<Duration> {
        let Work::Open {
            pacing, is_over, ..
        } = work
        else {
            return Ok(HOUSEKEEPING_INTERVAL);
        };
        let (pacing, was_over, now) = (*pacing, *is_over, self.run.clock.now());
        if was_over || self.run.is_stopped() {
            return Ok(HOUSEKEEPING_INTERVAL);
        }
        while let Some(due) = pacing.due(self.connections[self.next].index, self.turn) {
            if due.at > now {
                let wait = due.at.saturating_sub(self.run.clock.now());
                return self
                    .timer
                    .set(Duration::from_nanos(wait), HOUSEKEEPING_INTERVAL);
            }
            self.send(self.next, work);
            self.next += 1;
            if self.next == self.connections.len() {
                (self.next, self.turn) = (0, self.turn + 1);
            }
        }
        let rest = pacing.end().saturating_sub(now);
        if let Work::Open { is_over, .. } = work {
            *is_over = rest == 0;
        }
        Ok(HOUSEKEEPING_INTERVAL.min(Duration::from_nanos(rest)))
    }

    /// Updates the progress, and ends connections that exceed the time limit.
    fn housekeep(&mut self) {
        self.run.count(std::mem::take(&mut self.state.answered));
        let now = self.run.clock.now();
        if now - self.last_housekeeping < HOUSEKEEPING_INTERVAL.as_nanos() as u64 {
            return;
        }
        self.last_housekeeping = now;
        if self.run.stage() == Stage::Warming && now >= self.state.tally.measured_from {
            self.run.enter(Stage::Measuring);
        }
        for index in 0..self.connections.len() {
            let since = self.connections[index].window.oldest();
            if since.is_some_and(|since| since + self.load.timeout < now) {
                let limit = self.load.timeout as f64 / 1e9;
                self.end(index, &ConnectionError::Silent(limit));
            }
        }
    }

    /// Counts the requests that were due and never sent, with their wait until now as their
    /// latency.
    fn count_unsent(&mut self, pacing: &Pacing) {
        let now = self.run.clock.now().min(pacing.end());
        for connection in &self.connections {
            let server = &mut self.state.tally.servers[connection.server];
            let due = |turn| {
                pacing
                    .due(connection.index, turn)
                    .filter(|due| due.at < now)
            };
            for due in (connection.turn..).map_while(due).filter(|due| due.counts) {
                server.unsent += 1;
                server.kinds[0].latencies.record(now - due.at, 1);
            }
        }
    }
}
