//! The calls and timers of a link, in place of a server's task: the decisions are those of the
//! product's own [`LinkMachine`](proxyherd::replication::link::LinkMachine).

use std::rc::Rc;
use std::time::Duration;

use proxyherd::model::report::Report;
use proxyherd::replication::Incarnation;
use proxyherd::replication::link::{CallFailure, LinkAction};
use proxyherd::replication::messages::{PushAnswer, Rejection};
use proxyherd::replication::replica::Replica;
use proxyherd::replication::send_cursor::{BatchBuilder, Span};
use proxyherd::replication::tag::Tag;
use proxyherd::replication::version_vector::OriginNumber;

use crate::clients::{Ledger, ReportId};
use crate::coverage::Situation;
use crate::model::Pid;
use crate::process::{Link, Process, REQUEST_TIMEOUT, Waiting};
use crate::queue::{Body, Event, Push, Request, Response, ResponseBody};
use crate::topology::NAMES;
use crate::world::{CheckResult, World, trace};

/// Size of every report. A link's first batches hold a thousand of them.
pub(crate) const REPORT_BYTES: usize = 64;

/// A batch under construction.
struct CollectedBatch<'a> {
    ledger: &'a Ledger,
    room: usize,
    reports: Vec<ReportId>,
    tags: Vec<Tag>,
    /// A report that no client sent, if one was added.
    unknown_report: Option<String>,
}

impl BatchBuilder for CollectedBatch<'_> {
    fn add(&mut self, report: &Report<'_>, tag: Tag, max_bytes: usize) -> bool {
        if self.reports.len() == self.room || self.bytes() + REPORT_BYTES > max_bytes {
            return false;
        }
        match self.ledger.find(report) {
            Ok(id) => {
                self.reports.push(id);
                self.tags.push(tag);
            }
            Err(unknown_report) => self.unknown_report = Some(unknown_report),
        }
        true
    }

    fn bytes(&self) -> usize {
        self.reports.len() * REPORT_BYTES
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

    pub(crate) fn step_at(&mut self, pid: Pid, link: usize, at: u64) {
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
        let (action, reports, tags) = self.next_action(pid, at)?;
        match action {
            LinkAction::Greet => self.greet(pid, at),
            LinkAction::Push(span) => self.push(pid, at, span, (reports, tags)),
            LinkAction::PushAgain(span) => self.push_again(pid, at, span),
            LinkAction::Compare => {
                self.compare(pid, at);
                self.step_at(pid, at, now);
                Ok(())
            }
            LinkAction::Collect(ranges) => {
                self.collect(pid, at, &ranges)?;
                self.step_at(pid, at, now);
                Ok(())
            }
            LinkAction::Yield => {
                self.step_at(pid, at, now);
                Ok(())
            }
            LinkAction::Wait { until, for_changes } => {
                if for_changes {
                    self.check_skipped(pid, at)?;
                }
                if let Some(until) = until {
                    self.step_at(pid, at, ticks(until).max(now + 1));
                }
                self.check_link(pid, at)
            }
            LinkAction::End => Err("a link ends by itself".to_owned()),
        }
    }

    fn next_action(
        &mut self,
        pid: Pid,
        at: usize,
    ) -> CheckResult<(LinkAction, Vec<ReportId>, Vec<Tag>)> {
        let (now, room) = (self.time(), self.setup.room);
        let clock = self.earlier_clock(pid, at);
        let mut batch = CollectedBatch {
            ledger: &self.ledger,
            room,
            reports: Vec::new(),
            tags: Vec::new(),
            unknown_report: None,
        };
        let Process { replica, links, .. } = &mut self.processes[pid.0];
        let replica = replica.as_ref();
        let replica = replica.expect("what is meant for the dead was dropped");
        let action = links[at].machine.next(replica, (now, clock), &mut batch);
        match batch.unknown_report {
            Some(unknown_report) => Err(unknown_report),
            None => Ok((action, batch.reports, batch.tags)),
        }
    }

    fn greet(&mut self, pid: Pid, at: usize) -> CheckResult {
        let link = self.link(pid, at);
        link.collected.clear();
        link.greeting = link.requests + 1;
        let (to, neighbour) = (NAMES[link.to], link.cursor().neighbour());
        let own = link
            .machine
            .own_incarnation()
            .ok_or("a link has no incarnation")?;
        let greeting = self.replica(pid).greeting(neighbour, own);
        let acknowledged = greeting.acknowledged;
        let own = (
            NAMES[self.server(pid)],
            self.processes[pid.0].incarnation,
            to,
        );
        if (greeting.sender, greeting.incarnation, greeting.receiver) != own {
            return Err(format!(
                "{} greets with {greeting:?}",
                self.process_name(pid)
            ));
        }
        self.request(pid, at, Body::Greeting(acknowledged))
    }

    fn push(
        &mut self,
        pid: Pid,
        at: usize,
        span: Span,
        (reports, tags): (Vec<ReportId>, Vec<Tag>),
    ) -> CheckResult {
        let greeted = self.link(pid, at).greeted();
        let vector = self.link(pid, at).machine.vector().into();
        let push = Push {
            greeted: greeted.ok_or("a link pushes before it greets")?,
            span,
            reports: reports.into(),
            tags: self.tags_of(pid, &tags),
            vector,
        };
        self.check_batch(pid, at, &push)?;
        self.coverage.count(Situation::Pushed);
        if let Some(check) = push.check() {
            let (link, replica) = self.link_and_replica(pid, at);
            link.machine.sent(replica, span, check);
        }
        self.request(pid, at, Body::Push(push))
    }

    /// Checks a batch that turned out empty.
    fn check_skipped(&mut self, pid: Pid, at: usize) -> CheckResult {
        let link = self.link(pid, at);
        let cursor = link.cursor();
        let push = Push {
            greeted: link.greeted().ok_or("a link waits before it greets")?,
            span: Span {
                from: cursor.cursor(),
                to: cursor.scanned(),
                reports: 0,
                bytes: 0,
                is_cut: false,
                is_end: true,
            },
            reports: [].into(),
            tags: [].into(),
            vector: [].into(),
        };
        self.check_batch(pid, at, &push)
    }

    pub(crate) fn request(&mut self, pid: Pid, at: usize, body: Body) -> CheckResult {
        let now = self.now;
        let link = self.link(pid, at);
        link.requests += 1;
        link.sent_at = now;
        let (number, to) = (link.requests, link.to);
        let own = link
            .machine
            .own_incarnation()
            .ok_or("a link has no incarnation")?;
        let span = match &body {
            Body::Greeting(_) => None,
            Body::Push(push) => Some(push.span),
        };
        if link.waiting.replace(Waiting { number, span }).is_some() {
            return Err("a link makes two calls at a time".to_owned());
        }
        let time_out = Event::TimeOut(pid, at, number);
        self.queue.push(now + REQUEST_TIMEOUT, time_out);
        self.send(Request {
            from: pid,
            incarnation: own.get(),
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
                let (now, progress) = (self.time(), &reply.progress);
                let (link, replica) = self.link_and_replica(pid, at);
                let greeted = link
                    .machine
                    .greeted(replica, now, reply.incarnation, progress);
                match greeted {
                    Ok(()) => self.check_cursor(pid, at, progress.applied)?,
                    Err(failure) => self.not_accepted(pid, at, failure)?,
                }
            }
            (Some(span), ResponseBody::Applied(answer)) => {
                self.acknowledged(pid, at, span, &answer)?
            }
            (_, ResponseBody::Rejected(rejection)) => self.call_failed(pid, at, failure(rejection)),
            _ => return Err("a response to another request".to_owned()),
        }
        self.step_within(pid, at, 2);
        self.check_link(pid, at)
    }

    fn acknowledged(
        &mut self,
        pid: Pid,
        at: usize,
        span: Span,
        answer: &PushAnswer,
    ) -> CheckResult {
        let applied = answer.progress.applied;
        if applied > span.to {
            self.coverage.count(Situation::AppliedBeyond);
        }
        let now = self.time();
        let (link, replica) = self.link_and_replica(pid, at);
        let cursor = link.cursor().cursor();
        if let Err(failure) = link.machine.acknowledged(replica, now, answer) {
            return self.not_accepted(pid, at, failure);
        }
        self.check_cursor(pid, at, cursor.max(applied))?;
        self.reached_neighbour(pid, at)
    }

    pub(crate) fn time_out(&mut self, pid: Pid, at: usize, number: u32) -> CheckResult {
        if self.stop_waiting(pid, at, number).is_none() {
            return Ok(());
        }
        self.coverage.count(Situation::NoResponse);
        trace!(self, "{} got no response in time", self.process_name(pid));
        self.call_failed(pid, at, CallFailure::NoResponse(String::new()));
        self.step_within(pid, at, 0);
        self.check_link(pid, at)
    }

    pub(crate) fn call_failed(&mut self, pid: Pid, at: usize, failure: CallFailure) {
        let (now, random) = (self.time(), self.random.number());
        self.link(pid, at).machine.failed(now, &failure, random);
    }

    /// Handles a new incarnation of the neighbour, which has greeted this process.
    pub(crate) fn neighbour_greeted(&mut self, pid: Pid, at: usize, incarnation: Incarnation) {
        let now = self.now;
        let link = self.link(pid, at);
        if link.machine.neighbour_greeted(incarnation) {
            link.waiting = None;
            self.step_at(pid, at, now);
        }
    }

    /// Returns the tags of reports as they are sent.
    pub(crate) fn tags_of(&self, pid: Pid, tags: &[Tag]) -> Rc<[Option<OriginNumber>]> {
        let replica = self.replica(pid);
        let sent = |tag: &Tag| {
            let (origin, number) = (replica.origin(tag.origin())?, tag.number());
            Some(OriginNumber { origin, number })
        };
        tags.iter().map(sent).collect()
    }

    fn stop_waiting(&mut self, pid: Pid, at: usize, number: u32) -> Option<Waiting> {
        let waiting = &mut self.link(pid, at).waiting;
        waiting.take_if(|waiting| waiting.number == number)
    }

    pub(crate) fn link(&mut self, pid: Pid, at: usize) -> &mut Link {
        &mut self.processes[pid.0].links[at]
    }

    fn link_and_replica(&mut self, pid: Pid, at: usize) -> (&mut Link, &Replica) {
        let Process { replica, links, .. } = &mut self.processes[pid.0];
        let replica = replica.as_ref();
        let replica = replica.expect("what is meant for the dead was dropped");
        (&mut links[at], replica)
    }

    /// Returns the time for the machines.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.now)
    }
}

fn failure(rejection: Rejection) -> CallFailure {
    let reason = rejection.to_string();
    match rejection {
        Rejection::WrongIncarnation | Rejection::NotGreeted | Rejection::Gap { .. } => {
            CallFailure::OutOfStep(reason)
        }
        _ => CallFailure::Rejected(reason),
    }
}

/// Returns the first tick that is not before `time`.
fn ticks(time: Duration) -> u64 {
    time.as_micros().div_ceil(1000) as u64
}
