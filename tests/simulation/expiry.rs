//! Servers that hide and forget old reports, by clocks that disagree.

use std::time::Duration;

use proxyherd::model::timestamp::{NANOS_PER_SECOND, UnixNanos};
use proxyherd::replication::expiry::Expiry;
use proxyherd::replication::store::Walk;

use crate::clients::{Ledger, ReportId};
use crate::model::Pid;
use crate::random::Random;
use crate::tally::Seen;
use crate::world::{Checked, World, note};

/// How many records are looked at under one lock. Some shards hold more.
const SOME: usize = 2;

/// When reports are hidden and forgotten, in seconds of the clients' clocks.
#[derive(Clone, Debug)]
pub(crate) struct Expiring {
    after: u64,
    kept_hidden: u64,
    /// How far each server's clock is ahead, or behind: no two of them disagree
    /// by more than a hidden report is kept.
    errors: Vec<i64>,
}

impl Expiring {
    pub(crate) fn draw(servers: usize, random: &mut Random) -> Self {
        let kept_hidden = random.between(1, 8);
        let error = |_| random.between(0, kept_hidden) as i64 - (kept_hidden / 2) as i64;
        Self {
            kept_hidden,
            errors: (0..servers).map(error).collect(),
            after: random.between(1, 8),
        }
    }

    pub(crate) fn rule(&self) -> Expiry {
        let [after, kept_hidden] = [self.after, self.kept_hidden].map(Duration::from_secs);
        Expiry::with_kept_hidden(after, kept_hidden)
    }
}

/// What one server makes of the age of a report.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    rule: Expiry,
    error: i64,
}

impl Sight {
    /// What time it is for the server.
    pub(crate) fn now(self, ledger: &Ledger) -> UnixNanos {
        UnixNanos((ledger.seconds() as i64 + self.error) * NANOS_PER_SECOND)
    }

    pub(crate) fn hides(self, ledger: &Ledger, report: ReportId) -> bool {
        let time = ledger.report(report).time;
        self.rule.hides(time, self.now(ledger))
    }

    pub(crate) fn forgets(self, ledger: &Ledger, report: ReportId) -> bool {
        let time = ledger.report(report).time;
        self.rule.forgets(time, self.now(ledger))
    }
}

impl World {
    pub(crate) fn sight(&self, server: usize) -> Option<Sight> {
        let expiring = self.setup.expiring.as_ref()?;
        Some(Sight {
            rule: expiring.rule(),
            error: expiring.errors[server],
        })
    }

    /// What time it is for a server; no matter what, where none forgets.
    pub(crate) fn clock(&self, pid: Pid) -> UnixNanos {
        let sight = self.sight(self.server(pid));
        sight.map_or(UnixNanos(0), |sight| sight.now(&self.ledger))
    }

    /// Servers look through all that they hold, and forget what is too old.
    pub(crate) fn sweep(&mut self) -> Checked {
        let living: Vec<Pid> = self.living.iter().flatten().copied().collect();
        living.into_iter().try_for_each(|pid| self.sweep_one(pid))
    }

    fn sweep_one(&mut self, pid: Pid) -> Checked {
        let now = self.clock(pid);
        let replica = self.replica(pid);
        let (mut walk, looks) = (Walk::default(), replica.store().looks(SOME));
        let look = |_| replica.forget_some(&mut walk, SOME, now);
        let forgotten: usize = (0..looks).map(look).sum();
        let expected = self.processes[pid.0].model.forget_old(&self.ledger);
        (0..expected).for_each(|_| self.tally.count(Seen::Forgotten));
        note!(self, "{} forgets {forgotten} reports", self.who(pid));
        if forgotten != expected {
            let who = self.who(pid);
            return Err(format!("{who} forgot {forgotten} reports, not {expected}"));
        }
        self.check_unchanged(pid)?;
        (0..self.setup.clients).try_for_each(|client| self.check_client(pid, client))
    }

    /// A server shows what it holds of a client unless that is too old.
    pub(crate) fn check_shown(&mut self, pid: Pid, client: usize) -> Checked<Option<ReportId>> {
        let now = self.clock(pid);
        let find = |report: proxyherd::model::report::Report<'_>| self.ledger.find(&report);
        let id = Ledger::client_id(client);
        let shown = self.replica(pid).locate(id, || now, find).transpose()?;
        let sight = self.sight(self.server(pid));
        let is_hidden = |&id: &ReportId| sight.is_some_and(|sight| sight.hides(&self.ledger, id));
        let held = self.processes[pid.0].model.held(client);
        let held = held.map(|held| held.report);
        let expected = held.filter(|id| !is_hidden(id));
        if expected != held {
            self.tally.count(Seen::Hidden);
        }
        match shown == expected {
            true => Ok(shown),
            false => Err(format!(
                "{} shows {shown:?}, not {expected:?}",
                self.who(pid)
            )),
        }
    }
}
