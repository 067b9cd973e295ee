//! The steps of a link: greet, then fill and push indefinitely.

use proxyherd::model::report::Report;
use proxyherd::replication::replica::{Rejection, Replica};
use proxyherd::replication::send_cursor::{BatchBuilder, Span};

use crate::clients::{Ledger, ReportId};
use crate::coverage::Situation;
use crate::model::Pid;
use crate::process::{Link, Process, Waiting};
use crate::queue::{Body, Event, Push, Request, Response, ResponseBody};
use crate::topology::NAMES;
use crate::world::{CheckResult, HEARTBEAT_INTERVAL, World, trace};

/// Ticks that a link waits for a response: longer than any request takes in both directions without
/// faults, including a merge in pieces.
const REQUEST_TIMEOUT: u64 = 60;

/// Maximum ticks until a link retries after a failure.
const MAX_BACKOFF: u64 = 30;

/// A batch under construction.
struct CollectedBatch<'a> {
    ledger: &'a Ledger,
    room: usize,
    reports: Vec<ReportId>,
    /// A report that no client sent, if one was added.
    unknown_report: Option<String>,
}

impl BatchBuilder for CollectedBatch<'_> {
    fn add(&mut self, report: &Report<'_>) -> bool {
        if self.reports.len() == self.room {
            return false;
        }
        match self.ledger.find(report) {
            Ok(id) => self.reports.push(id),
            Err(unknown_report) => self.unknown_report = Some(unknown_report),
        }
        true
    }
}

impl World {
    /// Schedules a step of all links of a process, each a moment later.
    pub(crate) fn wake_links(&mut self, pid: Pid) {
        for link in 0..self.processes[pid.0].links.len() {
            self.step_within(pid, link, 3);
        }
    }

    fn step_within(&mut self, pid: Pid, link: usize, ticks: u64) {
        let at = self.now + self.random.between(0, ticks);
        self.step_at(pid, link, at);
    }

    fn step_at(&mut self, pid: Pid, link: usize, at: u64) {
        if !self.link(pid, link).is_linked {
            return;
        }
        let next = &mut self.link(pid, link).next_step;
        if at < *next {
            *next = at;
            self.queue.push(at, Event::Step(pid, link));
        }
    }

    pub(crate) fn step(&mut self, pid: Pid, at: usize) -> CheckResult {
        let now = self.now;
        let link = self.link(pid, at);
        // A step that was moved forward leaves its old event in the queue.
        if link.next_step != now {
            return Ok(());
        }
        link.next_step = u64::MAX;
        match (&link.waiting, link.must_greet) {
            (Some(_), _) => Ok(()),
            (None, true) => self.greet(pid, at),
            (None, false) => self.push(pid, at),
        }
    }

    fn greet(&mut self, pid: Pid, at: usize) -> CheckResult {
        let link = self.link(pid, at);
        link.must_greet = false;
        let (to, neighbour) = (NAMES[link.to], link.cursor.neighbour());
        let own = (NAMES[self.server(pid)], pid.incarnation(), to);
        let greeting = self.replica(pid).greeting(neighbour);
        if (greeting.sender, greeting.incarnation, greeting.receiver) != own {
            return Err(format!(
                "{} greets with {greeting:?}",
                self.process_name(pid)
            ));
        }
        self.request(pid, at, Body::Greeting)
    }

    fn push(&mut self, pid: Pid, at: usize) -> CheckResult {
        let heartbeat_at = self.link(pid, at).sent_at + HEARTBEAT_INTERVAL;
        let is_due = heartbeat_at <= self.now;
        let push = if is_due && self.random.chance(300) {
            self.heartbeat(pid, at)
        } else {
            self.collect_batch(pid, at)?
        };
        if push.reports.is_empty() && !is_due {
            self.step_at(pid, at, heartbeat_at);
            return Ok(());
        }
        self.coverage.count(Situation::Pushed);
        self.request(pid, at, Body::Push(push))
    }

    /// Returns an empty push, without reading the feed.
    fn heartbeat(&mut self, pid: Pid, at: usize) -> Push {
        let link = self.link(pid, at);
        let cursor = link.cursor.cursor();
        Push {
            greeted: link.greeted().expect("only who was greeted is pushed to"),
            span: Span {
                from: cursor,
                to: cursor,
                reports: 0,
            },
            reports: [].into(),
        }
    }

    fn collect_batch(&mut self, pid: Pid, at: usize) -> CheckResult<Push> {
        let now = self.earlier_clock(pid, at);
        let Process { replica, links, .. } = &mut self.processes[pid.0];
        let replica = replica.as_ref();
        let replica = replica.expect("what is meant for the dead was dropped");
        let link = &mut links[at];
        let mut batch = CollectedBatch {
            ledger: &self.ledger,
            room: self.setup.room,
            reports: Vec::new(),
            unknown_report: None,
        };
        let span = link.cursor.fill(replica, now, &mut batch);
        if let Some(unknown_report) = batch.unknown_report {
            return Err(unknown_report);
        }
        let push = Push {
            greeted: link.greeted().expect("only who was greeted is pushed to"),
            span,
            reports: batch.reports.into(),
        };
        self.check_batch(pid, at, &push)?;
        Ok(push)
    }

    fn request(&mut self, pid: Pid, at: usize, body: Body) -> CheckResult {
        let now = self.now;
        let link = self.link(pid, at);
        link.requests += 1;
        link.sent_at = now;
        let (number, to) = (link.requests, link.to);
        let span = match &body {
            Body::Greeting => None,
            Body::Push(push) => Some(push.span),
        };
        link.waiting = Some(Waiting { number, span });
        let time_out = Event::TimeOut(pid, at, number);
        self.queue.push(now + REQUEST_TIMEOUT, time_out);
        self.send(Request {
            from: pid,
            to,
            link: at,
            number,
            body,
        })
    }

    pub(crate) fn receive_response(&mut self, response: Response) -> CheckResult {
        let (pid, at) = (response.to, response.link);
        let Some(waiting) = self.stop_waiting(pid, at, response.number) else {
            self.coverage.count(Situation::TooLate);
            return Ok(());
        };
        match (waiting.span, response.body) {
            (None, ResponseBody::GreetReply(reply)) => {
                let (link, replica) = self.link_and_replica(pid, at);
                link.cursor
                    .start_at(replica, reply.incarnation, reply.applied);
                self.check_cursor(pid, at, reply.applied)?;
            }
            (Some(span), ResponseBody::Applied(applied)) => {
                self.acknowledged(pid, at, span, applied)?
            }
            (_, ResponseBody::Rejected(Rejection::NotNeighbour(_))) => {
                self.link(pid, at).must_greet = true;
                self.step_within(pid, at, MAX_BACKOFF);
                return self.check_link(pid, at);
            }
            (Some(_), ResponseBody::Rejected(_)) => self.link(pid, at).must_greet = true,
            _ => return Err("a response to another request".to_owned()),
        }
        self.step_within(pid, at, 2);
        self.check_link(pid, at)
    }

    fn acknowledged(&mut self, pid: Pid, at: usize, span: Span, applied: u64) -> CheckResult {
        if applied > span.to {
            self.coverage.count(Situation::AppliedBeyond);
        }
        let batch = self.setup.batch;
        let (link, replica) = self.link_and_replica(pid, at);
        let cursor = link.cursor.cursor();
        link.cursor.acknowledged(replica, span, applied);
        link.cursor.grow(span);
        if span.reports >= link.at_most {
            link.at_most = (link.at_most * 2).min(batch);
        }
        self.check_cursor(pid, at, cursor.max(applied))
    }

    pub(crate) fn time_out(&mut self, pid: Pid, at: usize, number: u32) -> CheckResult {
        let Some(waiting) = self.stop_waiting(pid, at, number) else {
            return Ok(());
        };
        self.coverage.count(Situation::NoResponse);
        trace!(self, "{} got no response in time", self.process_name(pid));
        let must_greet = self.random.chance(300) || waiting.span.is_none();
        let link = self.link(pid, at);
        link.must_greet |= must_greet;
        if let Some(span) = waiting.span {
            link.cursor.shrink(span);
            if span.reports > 0 {
                link.at_most = (link.at_most.min(span.reports) / 2).max(1);
            }
        }
        self.step_within(pid, at, MAX_BACKOFF);
        self.check_link(pid, at)
    }

    /// Handles a new incarnation of the neighbour: the link greets it at once, and at random does
    /// not wait for its pending request.
    pub(crate) fn greet_again(&mut self, pid: Pid, at: usize) {
        let impatient = self.random.chance(500);
        let link = self.link(pid, at);
        link.must_greet = true;
        if impatient {
            link.waiting = None;
        }
        let now = self.now;
        self.step_at(pid, at, now);
    }

    fn stop_waiting(&mut self, pid: Pid, at: usize, number: u32) -> Option<Waiting> {
        let waiting = &mut self.link(pid, at).waiting;
        waiting.take_if(|waiting| waiting.number == number)
    }

    fn link(&mut self, pid: Pid, at: usize) -> &mut Link {
        &mut self.processes[pid.0].links[at]
    }

    fn link_and_replica(&mut self, pid: Pid, at: usize) -> (&mut Link, &Replica) {
        let Process { replica, links, .. } = &mut self.processes[pid.0];
        let replica = replica.as_ref();
        let replica = replica.expect("what is meant for the dead was dropped");
        (&mut links[at], replica)
    }
}
