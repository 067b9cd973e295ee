//! The guarantees, checked at every step.

use proxyherd::replication::Incarnation;
use proxyherd::replication::lineage::Acknowledged;
use proxyherd::replication::messages::{GreetReply, PushAnswer, PushHeader, Rejection};
use proxyherd::replication::store::MergeResult;

use crate::clients::{Ledger, ReportId};
use crate::coverage::Situation;
use crate::links::REPORT_BYTES;
use crate::model::Pid;
use crate::queue::{IncomingPush, Push, Request};
use crate::setup::{Load, UNLIMITED_SENDERS};
use crate::world::{CheckResult, World};

/// Sequence number at which a feed starts another segment.
const SEGMENT_NUMBERS: u64 = 1024;

impl World {
    /// Checks that the store has the client's report that the model has, byte for byte, and that it
    /// numbers changes without a gap.
    pub(crate) fn check_client(&self, pid: Pid, client: usize) -> CheckResult {
        let store = self.replica(pid).store();
        let expected = self.processes[pid.0]
            .model
            .held(client)
            .map(|held| held.report);
        let id = Ledger::client_id(client);
        let held = store
            .find(id, |report| self.ledger.find(&report))
            .transpose()?;
        if held != expected {
            return Err(format!(
                "{} has {held:?}, not {expected:?}",
                self.process_name(pid)
            ));
        }
        self.check_unchanged(pid)
    }

    /// Checks that the last sequence number is that of the model.
    pub(crate) fn check_unchanged(&self, pid: Pid) -> CheckResult {
        let last = self.replica(pid).store().last();
        let expected = self.processes[pid.0].model.last();
        if last == expected {
            Ok(())
        } else {
            Err(format!(
                "{}'s last sequence number is {last}, not {expected}",
                self.process_name(pid)
            ))
        }
    }

    pub(crate) fn check_greet_reply(
        &mut self,
        pid: Pid,
        (request, acknowledged): (&Request, Option<Acknowledged>),
        reply: &GreetReply,
    ) -> CheckResult {
        let (from, applied) = (request.sender(), reply.progress.applied);
        let server = self.server(from);
        let process = &mut self.processes[pid.0];
        let Some(neighbour) = process.neighbour(server) else {
            return Err(format!(
                "{} accepted a greeting of a server that is not a neighbour",
                self.process_name(pid)
            ));
        };
        let was_known = process.model.has_greeted(neighbour, from);
        let (present, lineage) = (process.incarnation, process.lineage);
        let age = |incarnation: Incarnation| {
            let earlier = || Some(1 + lineage.iter().position(|it| it == incarnation)?);
            (incarnation.get() == present).then_some(0).or_else(earlier)
        };
        if let (false, Some(acknowledged)) = (was_known, acknowledged) {
            process
                .model
                .continue_progress(neighbour, from, acknowledged, age);
        }
        process.model.record_greeting(neighbour, from);
        let is_exact = process.model.is_exact(neighbour);
        let right_place =
            reply.neighbour.0 == neighbour && reply.incarnation.get() == process.incarnation;
        let right_novelty = reply.is_new != was_known || (was_known && !is_exact);
        let right_number = applied == process.model.applied(from) || !is_exact;
        if !right_place || !right_novelty || !right_number {
            return Err(format!(
                "{} gave the wrong {reply:?}",
                self.process_name(pid)
            ));
        }
        if !is_exact {
            self.coverage.count(Situation::IncarnationForgotten);
        }
        if !was_known && applied > 0 {
            self.coverage.count(Situation::Continued);
        }
        self.check_applied(pid, request, applied)
    }

    /// Checks that a process has all that its answer to a request says. An image need not, nor need
    /// one that an image called, until it has another incarnation.
    fn check_applied(&mut self, pid: Pid, request: &Request, applied: u64) -> CheckResult {
        let own = Pid::of_incarnation(self.processes[pid.0].incarnation);
        if self.is_shared(request.sender()) || self.is_shared(own) {
            return Ok(());
        }
        self.check_has(pid, request.from, applied)
    }

    /// Checks that a rejection as no neighbour concerns a process that is none.
    pub(crate) fn check_not_neighbour(
        &self,
        pid: Pid,
        from: Pid,
        rejection: &Rejection,
    ) -> CheckResult {
        let is_neighbour = self.processes[pid.0].neighbour(self.server(from)).is_some();
        match rejection {
            Rejection::NotNeighbour(_) if !is_neighbour => Ok(()),
            _ => Err(format!(
                "{} rejected {}: {rejection:?}",
                self.process_name(pid),
                self.process_name(from)
            )),
        }
    }

    /// Checks that a batch has exactly the reports that the neighbour lacks.
    pub(crate) fn check_batch(&mut self, pid: Pid, at: usize, push: &Push) -> CheckResult {
        let process = &self.processes[pid.0];
        let (model, link) = (&process.model, &process.links[at]);
        let (span, sent) = (push.span, push.reports.len());
        let limit = link.machine.max_batch_bytes() / REPORT_BYTES;
        let room = self.setup.room.min(self.setup.batch).min(limit.max(1));
        let is_sane = span.from == link.cursor().cursor()
            && span.from <= span.to
            && span.to <= model.last()
            && span.reports == sent
            && (sent == room || sent < room && (span.to == model.last() || link.machine.is_lazy()));
        if !is_sane {
            return Err(format!(
                "{} made the wrong {span:?} for room {room}",
                self.process_name(pid)
            ));
        }
        let receiver = &self.processes[push.greeted.0].model;
        let mut reports = push.reports.iter().copied().peekable();
        let is_held_back = span.to < model.last() && sent < room;
        let (mut avoided, mut covered, mut withheld) = (0, 0, Vec::new());
        for report in model.current(&self.ledger, span.from, span.to) {
            let is_sent = reports.next_if_eq(&report).is_some();
            if self.is_withheld(pid, at, report) {
                if is_sent {
                    return Err(format!("{} sends {report:?}", self.process_name(pid)));
                }
                withheld.push(report);
                continue;
            }
            if is_sent {
                continue;
            }
            if !receiver.has(&self.ledger, report) && !self.is_shared(push.greeted) {
                return Err(format!("{} leaves out {report:?}", self.process_name(pid)));
            }
            let held = model.held(self.ledger.client(report));
            let is_echo = held.is_some_and(|held| held.from & push.greeted.bit() != 0);
            avoided += usize::from(is_echo);
            covered += usize::from(!is_echo);
        }
        if let Some(report) = reports.next() {
            return Err(format!(
                "{} sends {report:?} out of order",
                self.process_name(pid)
            ));
        }
        (0..avoided).for_each(|_| self.coverage.count(Situation::EchoAvoided));
        (0..covered).for_each(|_| self.coverage.count(Situation::Covered));
        if is_held_back {
            self.coverage.count(Situation::HeldBack);
        }
        for report in withheld {
            self.coverage.count(Situation::Withheld);
            self.excuse(report)?;
        }
        self.check_echoes(pid, at, push)
    }

    /// Checks that no report is sent to a process that sent it, if bits are unlimited.
    fn check_echoes(&mut self, pid: Pid, at: usize, push: &Push) -> CheckResult {
        let model = &self.processes[pid.0].model;
        for &report in &*push.reports {
            self.coverage.count(Situation::Sent);
            let held = model.held(self.ledger.client(report));
            if held.is_none_or(|held| held.from & push.greeted.bit() == 0) {
                continue;
            }
            if self.setup.senders == UNLIMITED_SENDERS && model.is_exact(at) {
                return Err(format!("{} echoes {report:?}", self.process_name(pid)));
            }
            self.coverage.count(Situation::Echoed);
        }
        Ok(())
    }

    /// Checks that a push was accepted or rejected as the model expects, and changed nothing yet.
    pub(crate) fn check_push_result(
        &mut self,
        pid: Pid,
        from: Pid,
        header: &PushHeader<'_>,
        result: Result<(), &Rejection>,
    ) -> CheckResult {
        let Some(neighbour) = self.processes[pid.0].neighbour(self.server(from)) else {
            let rejection = result.err().cloned();
            let rejection = rejection.ok_or_else(|| {
                format!(
                    "{} accepted a push of a server that is not a neighbour",
                    self.process_name(pid)
                )
            })?;
            self.check_not_neighbour(pid, from, &rejection)?;
            return self.check_unchanged(pid);
        };
        let model = &self.processes[pid.0].model;
        let own = self.processes[pid.0].incarnation;
        let expected = model.judge(neighbour, (from, own), header);
        let agrees = result == expected.as_ref().map(|_| ());
        if !agrees && (model.is_exact(neighbour) || expected == Err(Rejection::WrongIncarnation)) {
            return Err(format!(
                "{} returned {result:?}, not {expected:?}",
                self.process_name(pid)
            ));
        }
        if result.is_ok() {
            self.count_accepted_push(from, header.to <= model.applied(from));
        } else if self.setup.load == Load::Spaced {
            return Err(format!(
                "{} rejected a push without faults",
                self.process_name(pid)
            ));
        }
        self.check_unchanged(pid)
    }

    fn count_accepted_push(&mut self, from: Pid, again: bool) {
        let sender = &self.processes[from.0];
        if sender.replica.is_none() {
            self.coverage.count(Situation::FromEndedProcess);
        } else if self.running[sender.server].last() != Some(&from) {
            self.coverage.count(Situation::FromReplacedProcess);
        }
        if again {
            self.coverage.count(Situation::AppliedAgain);
        }
    }

    /// Checks the merge of some reports of a push, of which `won` were reported as newer. `senders`
    /// is the set of processes that they are from.
    pub(crate) fn check_merged(
        &mut self,
        pid: Pid,
        senders: u64,
        reports: &[ReportId],
        won: usize,
    ) -> CheckResult {
        let mut newer = 0;
        let before = self.processes[pid.0].model.last();
        for &report in reports {
            let model = &mut self.processes[pid.0].model;
            match model.merge_pushed(&self.ledger, report, senders) {
                MergeResult::Newer => newer += 1,
                MergeResult::Duplicate => self.coverage.count(Situation::Duplicate),
                MergeResult::Stale => self.coverage.count(Situation::Stale),
            }
        }
        (0..newer).for_each(|_| self.coverage.count(Situation::Newer));
        if won != newer {
            return Err(format!(
                "{} counts {won} newer, not {newer}",
                self.process_name(pid)
            ));
        }
        let process = &mut self.processes[pid.0];
        let store = process.replica.as_ref().map(|replica| replica.store());
        let number_of = |client| store?.inspect(Ledger::client_id(client), |held| held.number);
        process
            .model
            .learn_order(&self.ledger, before, number_of)
            .map_err(|reason| format!("{}: {reason}", self.process_name(pid)))?;
        if self.processes[pid.0].model.last() > SEGMENT_NUMBERS {
            self.coverage.count(Situation::LongFeed);
        }
        let mut clients = reports.iter().map(|&report| self.ledger.client(report));
        clients.try_for_each(|client| self.check_client(pid, client))
    }

    /// Checks a finished push: the process has everything that its sequence numbers cover.
    pub(crate) fn check_finished(
        &mut self,
        incoming: &IncomingPush,
        finished: &Result<PushAnswer, Rejection>,
    ) -> CheckResult {
        let (pid, from, span) = (incoming.by, incoming.request.sender(), incoming.push.span);
        let server = self.server(from);
        let process = &mut self.processes[pid.0];
        let Some(neighbour) = process.neighbour(server) else {
            self.coverage.count(Situation::UnlinkedDuringPush);
            return match finished {
                Err(rejection) => self.check_not_neighbour(pid, from, rejection),
                Ok(_) => Err(format!(
                    "{} finished a push of a server that is not a neighbour",
                    self.process_name(pid)
                )),
            };
        };
        if process.incarnation != incoming.own {
            // It is acknowledged to the sender's link with the earlier incarnation.
            return Ok(());
        }
        let is_exact = process.model.is_exact(neighbour);
        let expected = process.model.finish(from, span.to);
        match finished {
            Ok(answer) if answer.progress.applied == expected || !is_exact => {
                self.check_applied(pid, &incoming.request, answer.progress.applied)
            }
            Err(Rejection::NotGreeted) if !is_exact => Ok(()),
            _ => Err(format!(
                "{} finished with {finished:?}, not {expected}",
                self.process_name(pid)
            )),
        }
    }

    /// Checks that a cursor is at the watermark that the neighbour returned.
    pub(crate) fn check_cursor(&self, pid: Pid, at: usize, expected: u64) -> CheckResult {
        let cursor = self.processes[pid.0].links[at].cursor().cursor();
        if cursor == expected {
            Ok(())
        } else {
            Err(format!(
                "{}'s cursor is {cursor}, not {expected}",
                self.process_name(pid)
            ))
        }
    }

    /// Checks that the neighbour has everything up to the link's cursor.
    pub(crate) fn check_link(&mut self, pid: Pid, at: usize) -> CheckResult {
        let process = &self.processes[pid.0];
        let link = &process.links[at];
        let Some(greeted) = link.greeted() else {
            return Ok(());
        };
        if self.is_shared(greeted) {
            return Ok(());
        }
        let done = if link.cursor().is_at_end(self.replica(pid)) {
            process.model.last()
        } else {
            link.cursor().cursor()
        };
        self.check_has(greeted, pid, done)
    }

    /// Checks that process `pid` has everything that `other` has up to this number, or newer.
    pub(crate) fn check_has(&mut self, pid: Pid, other: Pid, through: u64) -> CheckResult {
        // Taken out for the moment, so that both can be read.
        let mut model = std::mem::take(&mut self.processes[pid.0].model);
        let other = (other, &self.processes[other.0].model);
        let verified = model.verify(&self.ledger, other, through);
        self.processes[pid.0].model = model;
        verified.map_err(|missing| format!("{}: {missing}", self.process_name(pid)))
    }
}
