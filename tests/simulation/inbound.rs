//! The receiving side of a process: reports of clients, greetings and pushes of neighbours.

use proxyherd::replication::lineage::Acknowledged;
use proxyherd::replication::messages::{Greeting, PushHeader, Rejection, VERSION};
use proxyherd::replication::tag::{Tag, TaggedReport};
use proxyherd::replication::version_vector::OriginNumber;

use crate::clients::ReportId;
use crate::coverage::Situation;
use crate::model::Pid;
use crate::process::HERD;
use crate::queue::{Event, IncomingPush, Push, Request, ResponseBody};
use crate::setup::{Fault, Load};
use crate::topology::NAMES;
use crate::world::{CheckResult, World, trace};

/// Maximum number of pieces in which a push is merged.
const MAX_PIECES: usize = 8;

impl World {
    /// Sends a client's report to a random server.
    pub(crate) fn report(&mut self) -> CheckResult {
        let server = self.random.below(self.setup.servers);
        match self.receiver(server) {
            Some(pid) if self.processes[pid.0].paused_until <= self.now => self.receive_report(pid),
            _ => Ok(()),
        }
    }

    /// Sends many reports to one server at once.
    pub(crate) fn burst(&mut self) -> CheckResult {
        let Load::Burst(changes) = self.setup.load else {
            return Ok(());
        };
        let server = self.random.below(self.setup.servers);
        let Some(pid) = self.receiver(server) else {
            return Ok(());
        };
        // Most of the reports are newer, so this is enough.
        for _ in 0..3 * changes {
            if self.processes[pid.0].model.last() >= changes {
                break;
            }
            self.receive_report(pid)?;
        }
        Ok(())
    }

    fn receive_report(&mut self, pid: Pid) -> CheckResult {
        let server = self.processes[pid.0].server;
        let (line, again) = self.ledger.next(self.setup.clients, &mut self.random);
        let again = again.filter(|&id| self.ledger.origin(id) == server && self.random.chance(500));
        let id = again.unwrap_or_else(|| self.ledger.add(line, server));
        // The clock advances by reports, and a walk takes much less time than the clock's errors.
        self.purge()?;
        let now = self.clock(pid);
        let process = &mut self.processes[pid.0];
        let replica = process.replica.as_ref().expect("who is reached is alive");
        let report = self.ledger.report(id);
        let merged = replica
            .admit(report, now, usize::MAX)
            .expect("there is room");
        let expected = process.model.merge(&self.ledger, id, 0);
        let client = line.client;
        trace!(
            self,
            "{} receives {}: {merged:?}",
            self.process_name(pid),
            self.ledger.describe(id)
        );
        self.coverage.count(Situation::FromClient);
        if merged != expected {
            return Err(format!("merge returned {merged:?}, not {expected:?}"));
        }
        self.wake_links(pid);
        self.check_client(pid, client)?;
        self.check_located(pid, client)?;
        self.wait_for_levels(pid, id)
    }

    pub(crate) fn receive_greeting(
        &mut self,
        pid: Pid,
        request: Request,
        acknowledged: Option<Acknowledged>,
    ) -> CheckResult {
        let replica = self.replica(pid);
        let greeting = Greeting {
            version: VERSION,
            herd: HERD,
            sender: NAMES[self.server(request.from)],
            incarnation: request.incarnation,
            receiver: NAMES[request.to],
            expire_after: None,
            acknowledged,
        };
        let reply = match replica.accept_greeting(&greeting) {
            Ok(reply) => reply,
            Err(rejection) => return self.reject_greeting(pid, request, rejection),
        };
        self.check_greet_reply(pid, (&request, acknowledged), &reply)?;
        if reply.is_new {
            self.neighbour_greeted(pid, reply.neighbour.0, reply.greeter);
        }
        self.respond(pid, &request, ResponseBody::GreetReply(reply));
        Ok(())
    }

    /// Rejects a greeting, which happens only if its sender is not a neighbour.
    fn reject_greeting(&mut self, pid: Pid, request: Request, rejection: Rejection) -> CheckResult {
        self.check_not_neighbour(pid, request.from, &rejection)?;
        self.coverage.count(Situation::GreetingRejected);
        self.respond(pid, &request, ResponseBody::Rejected(rejection));
        self.check_unchanged(pid)
    }

    pub(crate) fn receive_push(&mut self, pid: Pid, request: Request, push: Push) -> CheckResult {
        let header = PushHeader {
            herd: HERD,
            sender: NAMES[self.server(request.from)],
            sender_incarnation: request.incarnation,
            receiver_incarnation: push.greeted.incarnation(),
            from: push.span.from,
            to: push.span.to,
            check: push.check(),
        };
        let result = self.replica(pid).begin_push(&header);
        self.check_push_result(pid, request.sender(), &header, result.as_ref().map(|_| ()))?;
        let process = &self.processes[pid.0];
        let is_late =
            header.from < header.to && header.to <= process.model.applied(request.sender());
        let own = process.incarnation;
        self.probe(pid, &header)?;
        match result {
            Ok(pending) => self.resume(IncomingPush {
                by: pid,
                request,
                push,
                pending,
                merged: 0,
                pieces: 0,
                own,
                is_late,
            }),
            Err(rejection) => {
                self.count_rejection(&rejection);
                self.respond(pid, &request, ResponseBody::Rejected(rejection));
                Ok(())
            }
        }
    }

    /// Merges the rest of a push, or a piece of it.
    pub(crate) fn resume(&mut self, mut incoming: IncomingPush) -> CheckResult {
        if incoming.merged > 0 && self.random.chance(self.faults.of(Fault::Cancelled)) {
            self.coverage.count(Situation::Cancelled);
            trace!(
                self,
                "{} gives up a push of {}",
                self.process_name(incoming.by),
                self.process_name(incoming.request.from)
            );
            return Ok(());
        }
        let rest = incoming.push.reports.len() - incoming.merged;
        let is_interrupted =
            incoming.pieces < MAX_PIECES && self.random.chance(self.faults.of(Fault::Pieces));
        let piece = if is_interrupted {
            self.random.below(rest + 1)
        } else {
            rest
        };
        self.merge(&mut incoming, piece)?;
        if !is_interrupted {
            return self.finish(incoming);
        }
        incoming.pieces += 1;
        let longest = if self.setup.load == Load::Spaced {
            5
        } else {
            25
        };
        let at = self.now + self.random.between(1, longest);
        self.queue.push(at, Event::Merge(Box::new(incoming)));
        Ok(())
    }

    fn merge(&mut self, incoming: &mut IncomingPush, piece: usize) -> CheckResult {
        let piece_of_it = incoming.merged..incoming.merged + piece;
        let ids = &incoming.push.reports[piece_of_it.clone()];
        let tags = &incoming.push.tags[piece_of_it];
        let tagged = |(&id, &tag): (&ReportId, &Option<OriginNumber>)| TaggedReport {
            report: *self.ledger.report(id),
            tag: self.tag(incoming.by, tag),
        };
        let reports: Vec<TaggedReport<'_>> = ids.iter().zip(tags).map(tagged).collect();
        let now = self.clock(incoming.by);
        let won = self
            .replica(incoming.by)
            .merge(&incoming.pending, &reports, now)
            .newer;
        incoming.merged += piece;
        let sender = incoming.request.sender();
        let senders = if incoming.is_late { 0 } else { sender.bit() };
        self.check_merged(incoming.by, senders, ids, won)?;
        if won > 0 {
            if incoming.push.span.from == incoming.push.span.to {
                self.coverage.count(Situation::Repaired);
            }
            self.wake_links(incoming.by);
        }
        Ok(())
    }

    /// Returns a tag as a process keeps it.
    fn tag(&self, pid: Pid, tag: Option<OriginNumber>) -> Tag {
        tag.map_or(Tag::default(), |tag| {
            let origins = self.replica(pid).push_origins(&[tag.origin]);
            origins.tag(0, tag.number)
        })
    }

    fn finish(&mut self, incoming: IncomingPush) -> CheckResult {
        let finished = self
            .replica(incoming.by)
            .finish_push(&incoming.pending, &incoming.push.vector);
        self.check_finished(&incoming, &finished)?;
        let body = finished.map_or_else(ResponseBody::Rejected, ResponseBody::Applied);
        self.respond(incoming.by, &incoming.request, body);
        Ok(())
    }

    fn count_rejection(&mut self, rejection: &Rejection) {
        match rejection {
            Rejection::WrongIncarnation => self.coverage.count(Situation::WrongIncarnation),
            Rejection::NotGreeted => self.coverage.count(Situation::NotGreeted),
            Rejection::Gap { .. } => self.coverage.count(Situation::Gap),
            Rejection::NotNeighbour(_) => self.coverage.count(Situation::PushRejected),
            _ => {}
        }
    }
}
