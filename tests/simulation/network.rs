//! The network between processes: it loses, doubles, delays and reorders.

use crate::model::Pid;
use crate::queue::{Answer, Body, Event, Request, Says};
use crate::setup::Fault;
use crate::topology::NAMES;
use crate::world::{Checked, Stage, World, note};

/// Most ticks that a message is under way which is not late.
const DELAY: u64 = 8;

/// Most ticks that a late message is under way.
const LATE: u64 = 800;

/// Servers of one set do not reach servers of another for a while.
pub(crate) struct Cut {
    from: u64,
    to: u64,
    until: u64,
}

impl Cut {
    pub(crate) fn new(from: u64, to: u64, until: u64) -> Self {
        Self { from, to, until }
    }
}

impl World {
    /// Sends a request to a server.
    pub(crate) fn send(&mut self, request: Request) -> Checked {
        note!(
            self,
            "{} -> {}: {}",
            self.who(request.from),
            NAMES[request.to],
            self.words(&request.body)
        );
        if self.stage == Stage::Quiet && !request.is_heartbeat() {
            let who = self.who(request.from);
            return Err(format!("{who} has more to say when all was said"));
        }
        let from = self.server(request.from);
        if self.loses(from, request.to, Fault::RequestLost) {
            return Ok(());
        }
        if self.random.chance(self.faults.of(Fault::Doubled)) {
            let at = self.arrival();
            self.queue.push(at, Event::Arrive(request.clone()));
        }
        let at = self.arrival();
        self.queue.push(at, Event::Arrive(request));
        Ok(())
    }

    /// A request reached its server: one of the processes of that name, the
    /// newest more often than not.
    pub(crate) fn arrive(&mut self, request: Request) -> Checked {
        let Some(pid) = self.reached(request.to) else {
            note!(self, "{} reaches nobody", self.who(request.from));
            return Ok(());
        };
        let wakes = self.processes[pid.0].paused_until;
        if wakes > self.now {
            self.queue.push(wakes, Event::Arrive(request));
            return Ok(());
        }
        match request.body.clone() {
            Body::Greeting => self.greeted(pid, request),
            Body::Push(push) => self.pushed(pid, request, push),
        }
    }

    pub(crate) fn reached(&mut self, server: usize) -> Option<Pid> {
        let living = &self.living[server];
        let elsewhere = self.stage == Stage::Storm && living.len() > 1;
        match elsewhere && self.random.chance(250) {
            true => Some(self.random.pick(&self.living[server])),
            false => living.last().copied(),
        }
    }

    /// Answers a request.
    pub(crate) fn answer(&mut self, from: Pid, request: &Request, says: Says) {
        note!(
            self,
            "{} answers {}: {says:?}",
            self.who(from),
            self.who(request.from)
        );
        let to = self.server(request.from);
        if self.loses(request.to, to, Fault::AnswerLost) {
            return;
        }
        let answer = Answer {
            to: request.from,
            link: request.link,
            number: request.number,
            says,
        };
        let at = self.now + self.random.between(1, DELAY);
        self.queue.push(at, Event::Answer(answer));
    }

    fn loses(&mut self, from: usize, to: usize, fault: Fault) -> bool {
        self.cuts.retain(|cut| cut.until > self.now);
        let mut cuts = self.cuts.iter();
        let is_cut = cuts.any(|cut| cut.from & (1 << from) != 0 && cut.to & (1 << to) != 0);
        let is_lost = is_cut || self.random.chance(self.faults.of(fault));
        if is_lost {
            note!(self, "... which is lost");
        }
        is_lost
    }

    fn arrival(&mut self) -> u64 {
        let is_late = self.random.chance(self.faults.of(Fault::Late));
        self.now + self.random.between(1, if is_late { LATE } else { DELAY })
    }

    fn words(&self, body: &Body) -> String {
        let Body::Push(push) = body else {
            return "greets".to_owned();
        };
        let reports = push.reports.iter().map(|&id| self.ledger.words(id));
        let reports: Vec<_> = reports.collect();
        let (greeted, span) = (self.who(push.greeted), push.span);
        let (from, to) = (span.from, span.to);
        format!(
            "pushes ({from}, {to}] to {greeted}: [{}]",
            reports.join(", ")
        )
    }
}
