//! The network between processes: it loses, duplicates, delays and reorders messages.

use crate::coverage::Situation;
use crate::model::Pid;
use crate::queue::{Body, Event, Request, Response, ResponseBody};
use crate::setup::Fault;
use crate::topology::NAMES;
use crate::world::{CheckResult, Stage, World, trace};

/// Maximum delay of a message that is not late, in ticks.
const MAX_DELAY: u64 = 8;

/// Maximum delay of a late message, in ticks.
const MAX_LATE_DELAY: u64 = 800;

/// A cut: the servers of one set do not reach those of another until a given tick.
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
    pub(crate) fn send(&mut self, request: Request) -> CheckResult {
        trace!(
            self,
            "{} -> {}: {}",
            self.process_name(request.from),
            NAMES[request.to],
            self.describe(&request.body)
        );
        if self.stage == Stage::Quiet && !request.is_heartbeat() {
            let name = self.process_name(request.from);
            return Err(format!(
                "{name} sends a request after the herd has converged"
            ));
        }
        let from = self.server(request.from);
        if self.exceeds_ceiling(from, &request) {
            self.coverage.count(Situation::TooLarge);
            trace!(self, "... which is too large for the path");
            return Ok(());
        }
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

    /// Delivers a request to one of the processes of its server, mostly the newest.
    pub(crate) fn arrive(&mut self, request: Request) -> CheckResult {
        let Some(pid) = self.receiver(request.to) else {
            trace!(
                self,
                "{} reaches no process",
                self.process_name(request.from)
            );
            return Ok(());
        };
        let resumes_at = self.processes[pid.0].paused_until;
        if resumes_at > self.now {
            self.queue.push(resumes_at, Event::Arrive(request));
            return Ok(());
        }
        match request.body.clone() {
            Body::Greeting(acknowledged) => self.receive_greeting(pid, request, acknowledged),
            Body::Push(push) => self.receive_push(pid, request, push),
        }
    }

    pub(crate) fn receiver(&mut self, server: usize) -> Option<Pid> {
        let running = &self.running[server];
        let elsewhere = self.stage == Stage::Faulty && running.len() > 1;
        if elsewhere && self.random.chance(250) {
            Some(self.random.pick(&self.running[server]))
        } else {
            running.last().copied()
        }
    }

    /// Sends a response to a request.
    pub(crate) fn respond(&mut self, from: Pid, request: &Request, body: ResponseBody) {
        trace!(
            self,
            "{} answers {}: {body:?}",
            self.process_name(from),
            self.process_name(request.from)
        );
        let to = self.server(request.from);
        if self.loses(request.to, to, Fault::ResponseLost) {
            return;
        }
        let response = Response {
            to: request.from,
            link: request.link,
            number: request.number,
            body,
        };
        let at = self.now + self.random.between(1, MAX_DELAY);
        self.queue.push(at, Event::Response(response));
    }

    /// Returns whether a request is larger than its path ever carries.
    fn exceeds_ceiling(&self, from: usize, request: &Request) -> bool {
        let Body::Push(push) = &request.body else {
            return false;
        };
        self.setup.ceiling.is_some_and(|ceiling| {
            (from, request.to) == ceiling.path && push.reports.len() > ceiling.reports
        })
    }

    fn loses(&mut self, from: usize, to: usize, fault: Fault) -> bool {
        self.cuts.retain(|cut| cut.until > self.now);
        let mut cuts = self.cuts.iter();
        let is_cut = cuts.any(|cut| cut.from & (1 << from) != 0 && cut.to & (1 << to) != 0);
        let is_lost = is_cut || self.random.chance(self.faults.of(fault));
        if is_lost {
            trace!(self, "... which is lost");
        }
        is_lost
    }

    fn arrival(&mut self) -> u64 {
        let is_late = self.random.chance(self.faults.of(Fault::Late));
        self.now
            + self
                .random
                .between(1, if is_late { MAX_LATE_DELAY } else { MAX_DELAY })
    }

    fn describe(&self, body: &Body) -> String {
        let Body::Push(push) = body else {
            return "must_greet".to_owned();
        };
        let reports = push.reports.iter().map(|&id| self.ledger.describe(id));
        let reports: Vec<_> = reports.collect();
        let (greeted, span) = (self.process_name(push.greeted), push.span);
        let (from, to) = (span.from, span.to);
        format!(
            "pushes ({from}, {to}] to {greeted}: [{}]",
            reports.join(", ")
        )
    }
}
