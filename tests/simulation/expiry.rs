//! Servers that expire and purge old reports, with clocks that differ.

use std::time::Duration;

use proxyherd::model::timestamp::{NANOS_PER_SECOND, UnixNanos};
use proxyherd::replication::expiry::Expiry;
use proxyherd::replication::store::Walk;

use crate::clients::{Ledger, ReportId};
use crate::coverage::Situation;
use crate::model::Pid;
use crate::random::Random;
use crate::world::{CheckResult, World, trace};

/// Number of records that are checked under one lock. Some shards have more.
const RECORDS_PER_STEP: usize = 2;

/// The ages at which reports are expired and purged, in seconds of the clients' clocks.
#[derive(Clone, Debug)]
pub(crate) struct ExpirySetup {
    after: u64,
    purge_delay: u64,
    /// Deviation of each server's clock. No two servers differ by more than the purge delay.
    errors: Vec<i64>,
}

impl ExpirySetup {
    pub(crate) fn draw(servers: usize, random: &mut Random) -> Self {
        let purge_delay = random.between(1, 8);
        let error = |_| random.between(0, purge_delay) as i64 - (purge_delay / 2) as i64;
        Self {
            purge_delay,
            errors: (0..servers).map(error).collect(),
            after: random.between(1, 8),
        }
    }

    pub(crate) fn rule(&self) -> Expiry {
        let [after, purge_delay] = [self.after, self.purge_delay].map(Duration::from_secs);
        Expiry::with_purge_delay(after, purge_delay)
    }
}

/// One server's expiry rule and clock.
#[derive(Clone, Copy)]
pub(crate) struct ServerExpiry {
    rule: Expiry,
    error: i64,
}

impl ServerExpiry {
    /// Returns the time by the server's clock.
    pub(crate) fn now(self, ledger: &Ledger) -> UnixNanos {
        UnixNanos((ledger.seconds() as i64 + self.error) * NANOS_PER_SECOND)
    }

    pub(crate) fn is_expired(self, ledger: &Ledger, report: ReportId) -> bool {
        let time = ledger.report(report).order_time();
        self.rule.is_expired(time, self.now(ledger))
    }

    pub(crate) fn is_purged(self, ledger: &Ledger, report: ReportId) -> bool {
        let time = ledger.report(report).order_time();
        self.rule.is_purged(time, self.now(ledger))
    }
}

impl World {
    pub(crate) fn expiry(&self, server: usize) -> Option<ServerExpiry> {
        let expiry = self.setup.expiry.as_ref()?;
        Some(ServerExpiry {
            rule: expiry.rule(),
            error: expiry.errors[server],
        })
    }

    /// Returns the time by a server's clock; any time if reports do not expire.
    pub(crate) fn clock(&self, pid: Pid) -> UnixNanos {
        let expiry = self.expiry(self.server(pid));
        expiry.map_or(UnixNanos(0), |expiry| expiry.now(&self.ledger))
    }

    /// Lets all servers check all their records and purge those that are too old.
    pub(crate) fn purge(&mut self) -> CheckResult {
        let running: Vec<Pid> = self.running.iter().flatten().copied().collect();
        running
            .into_iter()
            .try_for_each(|pid| self.purge_process(pid))
    }

    fn purge_process(&mut self, pid: Pid) -> CheckResult {
        let now = self.clock(pid);
        let replica = self.replica(pid);
        let (mut walk, steps) = (
            Walk::default(),
            replica.store().walk_steps(RECORDS_PER_STEP),
        );
        let look = |_| replica.purge_some(&mut walk, RECORDS_PER_STEP, now);
        let purged: usize = (0..steps).map(look).sum();
        let expected = self.processes[pid.0].model.purge(&self.ledger);
        (0..expected).for_each(|_| self.coverage.count(Situation::Purged));
        trace!(self, "{} purges {purged} reports", self.process_name(pid));
        if purged != expected {
            let name = self.process_name(pid);
            return Err(format!("{name} purged {purged} reports, not {expected}"));
        }
        self.check_unchanged(pid)?;
        (0..self.setup.clients).try_for_each(|client| self.check_client(pid, client))
    }

    /// Checks that a server returns its report of a client unless the report is expired.
    pub(crate) fn check_located(
        &mut self,
        pid: Pid,
        client: usize,
    ) -> CheckResult<Option<ReportId>> {
        let now = self.clock(pid);
        let find = |report: proxyherd::model::report::Report<'_>| self.ledger.find(&report);
        let id = Ledger::client_id(client);
        let shown = self.replica(pid).locate(id, || now, find).transpose()?;
        let expiry = self.expiry(self.server(pid));
        let is_hidden =
            |&id: &ReportId| expiry.is_some_and(|expiry| expiry.is_expired(&self.ledger, id));
        let held = self.processes[pid.0].model.held(client);
        let held = held.map(|held| held.report);
        let expected = held.filter(|id| !is_hidden(id));
        if expected != held {
            self.coverage.count(Situation::Expired);
        }
        if shown == expected {
            Ok(shown)
        } else {
            Err(format!(
                "{} returns {shown:?}, not {expected:?}",
                self.process_name(pid)
            ))
        }
    }
}
