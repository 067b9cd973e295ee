//! What a process does with what reaches it: reports of clients, greetings and
//! pushes of neighbours.

use proxyherd::model::report::Report;
use proxyherd::replication::replica::{Greeting, PushHeader, Rejection, VERSION};

use crate::model::Pid;
use crate::process::HERD;
use crate::queue::{Event, Push, Request, Says, Taking};
use crate::setup::{Fault, Load};
use crate::tally::Seen;
use crate::topology::NAMES;
use crate::world::{Checked, World, note};

/// Most pieces that a push is merged in.
const MOST_PIECES: usize = 8;

impl World {
    /// Some client reports to some server.
    pub(crate) fn report(&mut self) -> Checked {
        let server = self.random.below(self.setup.servers);
        match self.reached(server) {
            Some(pid) if self.processes[pid.0].paused_until <= self.now => self.hear(pid),
            _ => Ok(()),
        }
    }

    /// Many reports reach one server at once.
    pub(crate) fn burst(&mut self) -> Checked {
        let Load::Burst(changes) = self.setup.load else {
            return Ok(());
        };
        let server = self.random.below(self.setup.servers);
        let Some(pid) = self.reached(server) else {
            return Ok(());
        };
        // Most of the reports win, so that this is enough.
        for _ in 0..3 * changes {
            if self.processes[pid.0].model.last() >= changes {
                break;
            }
            self.hear(pid)?;
        }
        Ok(())
    }

    fn hear(&mut self, pid: Pid) -> Checked {
        let server = self.processes[pid.0].server;
        let (line, again) = self.ledger.next(self.setup.clients, &mut self.random);
        let again = again.filter(|&id| self.ledger.origin(id) == server && self.random.chance(500));
        let id = again.unwrap_or_else(|| self.ledger.add(line, server));
        let now = self.clock(pid);
        let process = &mut self.processes[pid.0];
        let replica = process.replica.as_ref().expect("who is reached is alive");
        let report = self.ledger.report(id);
        let merged = replica
            .admit(report, now, usize::MAX)
            .expect("there is room");
        let expected = process.model.merge(&self.ledger, id, 0);
        let client = line.client;
        note!(
            self,
            "{} hears {}: {merged:?}",
            self.who(pid),
            self.ledger.words(id)
        );
        self.tally.count(Seen::FromClient);
        if merged != expected {
            return Err(format!("merging said {merged:?}, not {expected:?}"));
        }
        self.wake_links(pid);
        self.check_client(pid, client)?;
        self.check_shown(pid, client).map(drop)
    }

    pub(crate) fn greeted(&mut self, pid: Pid, request: Request) -> Checked {
        let replica = self.replica(pid);
        let greeting = Greeting {
            version: VERSION,
            herd: HERD,
            sender: NAMES[self.server(request.from)],
            incarnation: request.from.incarnation(),
            receiver: NAMES[request.to],
            expire_after: None,
        };
        let welcome = match replica.welcome(&greeting) {
            Ok(welcome) => welcome,
            Err(refusal) => return self.turn_away(pid, request, refusal),
        };
        self.check_welcome(pid, request.from, &welcome)?;
        if welcome.is_new {
            self.greet_again(pid, welcome.neighbour.0);
        }
        self.answer(pid, &request, Says::GreetReply(welcome));
        Ok(())
    }

    /// A greeting is refused, which happens to strangers only.
    fn turn_away(&mut self, pid: Pid, request: Request, refusal: Rejection) -> Checked {
        self.check_stranger(pid, request.from, &refusal)?;
        self.tally.count(Seen::GreetedInVain);
        self.answer(pid, &request, Says::Refused(refusal));
        self.check_unchanged(pid)
    }

    pub(crate) fn pushed(&mut self, pid: Pid, request: Request, push: Push) -> Checked {
        let header = PushHeader {
            herd: HERD,
            sender: NAMES[self.server(request.from)],
            sender_incarnation: request.from.incarnation(),
            receiver_incarnation: push.greeted.incarnation(),
            from: push.span.from,
            to: push.span.to,
        };
        let judged = self.replica(pid).begin_push(&header);
        self.check_judged(pid, request.from, &header, judged.as_ref().map(|_| ()))?;
        self.probe(pid, &header)?;
        match judged {
            Ok(intake) => self.resume(Taking {
                by: pid,
                request,
                push,
                intake,
                merged: 0,
                pieces: 0,
            }),
            Err(refusal) => {
                self.count_refusal(&refusal);
                self.answer(pid, &request, Says::Refused(refusal));
                Ok(())
            }
        }
    }

    /// Merges the rest of a push, or a piece of it.
    pub(crate) fn resume(&mut self, mut taking: Taking) -> Checked {
        if taking.merged > 0 && self.random.chance(self.faults.of(Fault::Cancelled)) {
            self.tally.count(Seen::Cancelled);
            note!(
                self,
                "{} gives up a push of {}",
                self.who(taking.by),
                self.who(taking.request.from)
            );
            return Ok(());
        }
        let rest = taking.push.reports.len() - taking.merged;
        let pauses =
            taking.pieces < MOST_PIECES && self.random.chance(self.faults.of(Fault::Pieces));
        let piece = if pauses {
            self.random.below(rest + 1)
        } else {
            rest
        };
        self.merge(&mut taking, piece)?;
        if !pauses {
            return self.finish(taking);
        }
        taking.pieces += 1;
        let longest = if self.setup.load == Load::Spaced {
            5
        } else {
            25
        };
        let at = self.now + self.random.between(1, longest);
        self.queue.push(at, Event::Merge(Box::new(taking)));
        Ok(())
    }

    fn merge(&mut self, taking: &mut Taking, piece: usize) -> Checked {
        let ids = &taking.push.reports[taking.merged..taking.merged + piece];
        let reports: Vec<Report<'_>> = ids.iter().map(|&id| *self.ledger.report(id)).collect();
        let now = self.clock(taking.by);
        let won = self
            .replica(taking.by)
            .merge(&taking.intake, &reports, now)
            .newer;
        taking.merged += piece;
        self.check_merged(taking.by, taking.request.from, ids, won)?;
        if won > 0 {
            self.wake_links(taking.by);
        }
        Ok(())
    }

    fn finish(&mut self, taking: Taking) -> Checked {
        let finished = self.replica(taking.by).finish_push(&taking.intake);
        self.check_finished(&taking, &finished)?;
        let says = finished.map_or_else(Says::Refused, Says::Applied);
        self.answer(taking.by, &taking.request, says);
        Ok(())
    }

    fn count_refusal(&mut self, refusal: &Rejection) {
        match refusal {
            Rejection::Restarted => self.tally.count(Seen::Restarted),
            Rejection::NotGreeted => self.tally.count(Seen::NotGreeted),
            Rejection::Gap { .. } => self.tally.count(Seen::Gap),
            Rejection::NoNeighbour(_) => self.tally.count(Seen::PushedInVain),
            _ => {}
        }
    }
}
