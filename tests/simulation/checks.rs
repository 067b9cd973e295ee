//! The promises, checked at every step.

use proxyherd::replication::replica::{GreetReply, PushHeader, Rejection};
use proxyherd::replication::store::MergeResult;

use crate::clients::{Ledger, ReportId};
use crate::model::Pid;
use crate::queue::{Push, Taking};
use crate::setup::{Load, PLENTY};
use crate::tally::Seen;
use crate::world::{Checked, World};

/// A number at which a feed begins another segment.
const SEGMENT: u64 = 1024;

impl World {
    /// The store holds of a client what it should, byte for byte, and has
    /// numbered its changes without a gap.
    pub(crate) fn check_client(&self, pid: Pid, client: usize) -> Checked {
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
                "{} holds {held:?}, not {expected:?}",
                self.who(pid)
            ));
        }
        self.check_unchanged(pid)
    }

    /// Nothing changed that should not have.
    pub(crate) fn check_unchanged(&self, pid: Pid) -> Checked {
        let last = self.replica(pid).store().last();
        let expected = self.processes[pid.0].model.last();
        match last == expected {
            true => Ok(()),
            false => Err(format!(
                "{}'s last number is {last}, not {expected}",
                self.who(pid)
            )),
        }
    }

    pub(crate) fn check_welcome(&mut self, pid: Pid, from: Pid, welcome: &GreetReply) -> Checked {
        let server = self.server(from);
        let process = &mut self.processes[pid.0];
        let Some(neighbour) = process.neighbour(server) else {
            return Err(format!("{} welcomes a stranger", self.who(pid)));
        };
        let was_met = process.model.has_met(neighbour, from);
        process.model.meet(neighbour, from);
        let is_exact = process.model.is_exact(neighbour);
        let right_place =
            welcome.neighbour.0 == neighbour && welcome.incarnation.get() == pid.incarnation();
        let right_novelty = welcome.is_new != was_met || (was_met && !is_exact);
        let right_number = welcome.applied == process.model.applied(from) || !is_exact;
        if !right_place || !right_novelty || !right_number {
            return Err(format!("{} gave a wrong {welcome:?}", self.who(pid)));
        }
        if !is_exact {
            self.tally.count(Seen::Forgetful);
        }
        self.check_has(pid, from, welcome.applied)
    }

    /// Only who is no neighbour is refused as such.
    pub(crate) fn check_stranger(&self, pid: Pid, from: Pid, refusal: &Rejection) -> Checked {
        let is_neighbour = self.processes[pid.0].neighbour(self.server(from)).is_some();
        match refusal {
            Rejection::NoNeighbour(_) if !is_neighbour => Ok(()),
            _ => Err(format!(
                "{} refused {}: {refusal:?}",
                self.who(pid),
                self.who(from)
            )),
        }
    }

    /// A batch holds what the neighbour lacks, and nothing else.
    pub(crate) fn check_batch(&mut self, pid: Pid, at: usize, push: &Push) -> Checked {
        let process = &self.processes[pid.0];
        let (model, link) = (&process.model, &process.links[at]);
        let (span, sent) = (push.span, push.reports.len());
        let room = self.setup.room.min(link.at_most);
        let is_sane = span.from == link.outbox.cursor()
            && span.from <= span.to
            && span.to <= model.last()
            && span.reports == sent
            && (sent == room || sent < room && span.to == model.last());
        if !is_sane {
            return Err(format!(
                "{} made a wrong {span:?} for room {room}",
                self.who(pid)
            ));
        }
        let receiver = &self.processes[push.greeted.0].model;
        let mut reports = push.reports.iter().copied().peekable();
        let mut spared = 0;
        for report in model.current(&self.ledger, span.from, span.to) {
            if reports.next_if_eq(&report).is_some() {
                continue;
            }
            if !receiver.has(&self.ledger, report) {
                return Err(format!("{} leaves out {report:?}", self.who(pid)));
            }
            spared += 1;
        }
        if let Some(report) = reports.next() {
            return Err(format!("{} sends {report:?} out of order", self.who(pid)));
        }
        (0..spared).for_each(|_| self.tally.count(Seen::EchoSpared));
        self.check_echoes(pid, at, push)
    }

    /// No report goes to a process that sent it, while bits are plenty.
    fn check_echoes(&mut self, pid: Pid, at: usize, push: &Push) -> Checked {
        let model = &self.processes[pid.0].model;
        for &report in &*push.reports {
            self.tally.count(Seen::Sent);
            let held = model.held(self.ledger.client(report));
            if held.is_none_or(|held| held.from & push.greeted.bit() == 0) {
                continue;
            }
            if self.setup.senders == PLENTY && model.is_exact(at) {
                return Err(format!("{} echoes {report:?}", self.who(pid)));
            }
            self.tally.count(Seen::Echoed);
        }
        Ok(())
    }

    /// A push was let in, or refused and changed nothing.
    pub(crate) fn check_judged(
        &mut self,
        pid: Pid,
        from: Pid,
        header: &PushHeader<'_>,
        judged: Result<(), &Rejection>,
    ) -> Checked {
        let Some(neighbour) = self.processes[pid.0].neighbour(self.server(from)) else {
            let refusal = judged.err().cloned();
            let refusal = refusal.ok_or_else(|| format!("{} lets a stranger in", self.who(pid)))?;
            self.check_stranger(pid, from, &refusal)?;
            return self.check_unchanged(pid);
        };
        let model = &self.processes[pid.0].model;
        let expected = model.judge(neighbour, (from, pid), header);
        let agrees = judged == expected.as_ref().map(|_| ());
        if !agrees && (model.is_exact(neighbour) || expected == Err(Rejection::Restarted)) {
            return Err(format!(
                "{} judged {judged:?}, not {expected:?}",
                self.who(pid)
            ));
        }
        if judged.is_ok() {
            self.count_intake(from, header.to <= model.applied(from));
        } else if self.setup.load == Load::Spaced {
            return Err(format!("{} refused where nothing failed", self.who(pid)));
        }
        self.check_unchanged(pid)
    }

    fn count_intake(&mut self, from: Pid, again: bool) {
        let sender = &self.processes[from.0];
        if sender.replica.is_none() {
            self.tally.count(Seen::FromTheDead);
        } else if self.living[sender.server].last() != Some(&from) {
            self.tally.count(Seen::FromTheReplaced);
        }
        if again {
            self.tally.count(Seen::AppliedAgain);
        }
    }

    /// Some reports of a push were merged, and `won` of them are said to have
    /// been newer.
    pub(crate) fn check_merged(
        &mut self,
        pid: Pid,
        from: Pid,
        reports: &[ReportId],
        won: usize,
    ) -> Checked {
        let mut newer = 0;
        let before = self.processes[pid.0].model.last();
        for &report in reports {
            let model = &mut self.processes[pid.0].model;
            if model.forgets(&self.ledger, report) {
                self.tally.count(Seen::Dropped);
            }
            match model.merge(&self.ledger, report, from.bit()) {
                MergeResult::Newer => newer += 1,
                MergeResult::Same => self.tally.count(Seen::Same),
                MergeResult::Older => self.tally.count(Seen::Older),
            }
        }
        (0..newer).for_each(|_| self.tally.count(Seen::Newer));
        if won != newer {
            return Err(format!("{} counts {won} newer, not {newer}", self.who(pid)));
        }
        let process = &mut self.processes[pid.0];
        let store = process.replica.as_ref().map(|replica| replica.store());
        let number_of = |client| store?.inspect(Ledger::client_id(client), |held| held.number);
        process
            .model
            .learn_order(&self.ledger, before, number_of)
            .map_err(|reason| format!("{}: {reason}", self.who(pid)))?;
        if self.processes[pid.0].model.last() > SEGMENT {
            self.tally.count(Seen::LongFeed);
        }
        let mut clients = reports.iter().map(|&report| self.ledger.client(report));
        clients.try_for_each(|client| self.check_client(pid, client))
    }

    /// A push was finished: all that its numbers stand for is here.
    pub(crate) fn check_finished(
        &mut self,
        taking: &Taking,
        finished: &Result<u64, Rejection>,
    ) -> Checked {
        let (pid, from, span) = (taking.by, taking.request.from, taking.push.span);
        let server = self.server(from);
        let process = &mut self.processes[pid.0];
        let Some(neighbour) = process.neighbour(server) else {
            self.tally.count(Seen::UnlinkedMeanwhile);
            return match finished {
                Err(refusal) => self.check_stranger(pid, from, refusal),
                Ok(_) => Err(format!("{} finished a stranger's push", self.who(pid))),
            };
        };
        let is_exact = process.model.is_exact(neighbour);
        let expected = process.model.finish(from, span.to);
        match finished {
            Ok(applied) if *applied == expected || !is_exact => self.check_has(pid, from, *applied),
            Err(Rejection::NotGreeted) if !is_exact => Ok(()),
            _ => Err(format!(
                "{} finished {finished:?}, not {expected}",
                self.who(pid)
            )),
        }
    }

    /// A cursor stands where the neighbour said.
    pub(crate) fn check_cursor(&self, pid: Pid, at: usize, expected: u64) -> Checked {
        let cursor = self.processes[pid.0].links[at].outbox.cursor();
        match cursor == expected {
            true => Ok(()),
            false => Err(format!(
                "{}'s cursor is {cursor}, not {expected}",
                self.who(pid)
            )),
        }
    }

    /// What an outbox takes for done is done.
    pub(crate) fn check_outbox(&mut self, pid: Pid, at: usize) -> Checked {
        let process = &self.processes[pid.0];
        let link = &process.links[at];
        let Some(greeted) = link.greeted() else {
            return Ok(());
        };
        let done = match link.outbox.is_at_end(self.replica(pid)) {
            true => process.model.last(),
            false => link.outbox.cursor(),
        };
        self.check_has(greeted, pid, done)
    }

    /// Process `pid` has all that `other` holds up to this number, or newer.
    fn check_has(&mut self, pid: Pid, other: Pid, through: u64) -> Checked {
        // Taken out for the moment, so that both can be read.
        let mut model = std::mem::take(&mut self.processes[pid.0].model);
        let other = (other, &self.processes[other.0].model);
        let verified = model.verify(&self.ledger, other, through);
        self.processes[pid.0].model = model;
        verified.map_err(|lacking| format!("{}: {lacking}", self.who(pid)))
    }
}
