//! One thread of a load: waits for its connections, takes answers, sends what
//! is next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::connection::{Broken, Connection};
use super::pacing::Pacing;
use super::settings::{Length, Load};
use super::shared::{Shared, Stage};
use super::tally::Tally;
use super::timer::Timer;
use super::window::WorkerState;
use super::work::{Closed, Work};

/// How often a thread looks up from its sockets at least.
const TICK: Duration = Duration::from_millis(50);

/// How many events one poll may bring.
const EVENTS: usize = 1024;

/// The token of the timer; those of connections are their places.
const TIMER: Token = Token(usize::MAX);

/// One thread and its connections.
pub(super) struct Worker {
    poll: Poll,
    timer: Timer,
    connections: Vec<Connection>,
    desk: WorkerState,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
    load: Load,
    /// The requests that count which this thread is to send, where that is what
    /// ends the load.
    share: u64,
    /// How far the schedule has been followed: a turn, and whose.
    turn: u64,
    next: usize,
    last_look: u64,
    /// How many connections are not broken.
    open: usize,
}

/// What a thread leaves behind.
pub(super) struct Done {
    pub(super) tally: Tally,
    pub(super) connections: Vec<Connection>,
}

impl Worker {
    pub(super) fn new(
        mut connections: Vec<Connection>,
        desk: WorkerState,
        load: &Load,
        share: u64,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (place, connection) in connections.iter_mut().enumerate() {
            connection.register(poll.registry(), Token(place))?;
        }
        Ok(Self {
            timer: Timer::new(poll.registry(), TIMER)?,
            poll,
            open: connections.len(),
            connections,
            desk,
            buffer: Vec::new(),
            shared,
            load: load.clone(),
            share,
            turn: 0,
            next: 0,
            last_look: 0,
        })
    }

    /// Makes the load. Fails only where the system's poll does.
    pub(super) fn run(mut self) -> io::Result<Done> {
        let introduced = self.drive(&mut Work::Introduce);
        let start = self.shared.start_together();
        introduced?;
        let mut work = self.work(start);
        self.drive(&mut work)?;
        if let Work::Open { pacing, .. } = work {
            self.count_unsent(&pacing);
        }
        Ok(Done {
            tally: self.desk.tally,
            connections: self.connections,
        })
    }

    /// The load's measured part, from `start` on.
    fn work(&mut self, start: u64) -> Work {
        let load = &self.load;
        let measured_from = start + load.warmup;
        self.desk.tally.measured_from = measured_from;
        if let Some(rate) = load.rate {
            let requests = |nanos: u64| (nanos as f64 / 1e9 * rate as f64).round() as u64;
            let count = match load.length {
                Length::Requests(count) => count,
                Length::Time(nanos) => requests(nanos),
            };
            let warm = requests(load.warmup);
            let pacing = Pacing::new(start, rate, load.connections, warm, count);
            self.desk.tally.measured_from = pacing.measured_from();
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
        Work::Closed(Closed {
            pipeline: load.pipeline,
            measured_from,
            end,
            left,
        })
    }

    /// Does the work until all of it is sent, and answered or given up.
    fn drive(&mut self, work: &mut Work) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        for place in 0..self.connections.len() {
            self.send(place, work);
        }
        loop {
            let wait = self.follow(work)?;
            let now = self.shared.clock.now();
            let is_over = self.shared.is_stopped() || work.is_over(now);
            if is_over || matches!(work, Work::Introduce) {
                let has_more = |connection: &Connection| !connection.window.is_empty();
                if !self.connections.iter().any(has_more) {
                    return Ok(());
                }
            }
            if self.open == 0 {
                return Ok(());
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in events.iter().filter(|event| event.token() != TIMER) {
                self.serve(event, work);
            }
            self.look_around();
        }
    }

    /// Takes what a connection has brought, and sends what is next.
    fn serve(&mut self, event: &Event, work: &mut Work) {
        let place = event.token().0;
        let connection = &mut self.connections[place];
        if connection.is_broken {
            return;
        }
        if event.is_readable() {
            let to_the_end = event.is_read_closed() || event.is_error();
            let (clock, desk) = (&self.shared.clock, &mut self.desk);
            let read = connection.read(to_the_end, &mut self.buffer, clock, desk);
            if let Err(broken) = read {
                return self.end(place, &broken);
            }
        }
        self.send(place, work);
    }

    fn send(&mut self, place: usize, work: &mut Work) {
        let (connection, clock) = (&mut self.connections[place], &self.shared.clock);
        if connection.is_broken {
            return;
        }
        let now = clock.now();
        if !self.shared.is_stopped() && !work.is_over(now) {
            work.hand_out(connection, now, clock.unix(now), &mut self.desk);
        }
        if let Err(broken) = connection.write() {
            self.end(place, &broken);
        }
    }

    fn end(&mut self, place: usize, broken: &Broken) {
        self.open -= 1;
        self.connections[place].end(broken, &mut self.desk);
    }

    /// Sends what is due, where there is a schedule. Gives how long to wait for
    /// what is due next.
    fn follow(&mut self, work: &mut Work) -> io::Result<Duration> {
        let Work::Open {
            pacing, is_over, ..
        } = work
        else {
            return Ok(TICK);
        };
        let (pacing, was_over, now) = (*pacing, *is_over, self.shared.clock.now());
        if was_over || self.shared.is_stopped() {
            return Ok(TICK);
        }
        while let Some(due) = pacing.due(self.connections[self.next].index, self.turn) {
            if due.at > now {
                let wait = due.at.saturating_sub(self.shared.clock.now());
                return self.timer.set(Duration::from_nanos(wait), TICK);
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
        Ok(TICK.min(Duration::from_nanos(rest)))
    }

    /// What is not done for each answer: shows how far things are, and gives
    /// connections up that are silent.
    fn look_around(&mut self) {
        self.shared.count(std::mem::take(&mut self.desk.answered));
        let now = self.shared.clock.now();
        if now - self.last_look < TICK.as_nanos() as u64 {
            return;
        }
        self.last_look = now;
        if self.shared.stage() == Stage::Warming && now >= self.desk.tally.measured_from {
            self.shared.enter(Stage::Measuring);
        }
        for place in 0..self.connections.len() {
            let since = self.connections[place].window.oldest();
            if since.is_some_and(|since| since + self.load.timeout < now) {
                let limit = self.load.timeout as f64 / 1e9;
                self.end(place, &Broken::Silent(limit));
            }
        }
    }

    /// What was due and never sent has waited too, and at least until now.
    fn count_unsent(&mut self, pacing: &Pacing) {
        let now = self.shared.clock.now().min(pacing.end());
        for connection in &self.connections {
            let server = &mut self.desk.tally.servers[connection.server];
            let due = |turn| {
                pacing
                    .due(connection.index, turn)
                    .filter(|due| due.at < now)
            };
            for due in (connection.turn..).map_while(due).filter(|due| due.counts) {
                server.unsent += 1;
                server.kinds[0].times.record(now - due.at, 1);
            }
        }
    }
}
