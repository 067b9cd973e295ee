//! Servers that expire and purge old reports, with clocks that differ.

use std::time::Duration;

use proxyherd::model::timestamp::{NANOS_PER_SECOND, UnixNanos};
use proxyherd::replication::expiry::Expiry;
use proxyherd::replication::store::Walk;

use crate::clients::{Ledger, ReportId};
use crate::coverage::Situation;
use crate::model::Pid;
use crate::random::Random;
use crate::world::{CheckResult, Stage, World, trace};

/// Number of records that are checked under one lock. Some shards have more.
const RECORDS_PER_STEP: usize = 2;

/// Number of epochs in the time between expiry and purge.
pub(crate) const EPOCHS_PER_DELAY: u64 = 24;

/// Seconds that no schedule reaches.
const MAX_SECONDS: u64 = 40;

/// The ages at which reports are expired and purged, in seconds of the clients' clocks, and the
/// errors of the servers' clocks.
#[derive(Clone, Debug)]
pub(crate) struct ExpirySetup {
    after: u64,
    purge_delay: u64,
    /// Lasting error of each server's clock. No two servers differ by more than the purge delay.
    errors: Vec<i64>,
    /// The server whose clock leaps.
    leaping: usize,
    /// Its leaps. One and the difference of two servers' clocks are not longer than the purge
    /// delay together, and a leap alone is shorter than it.
    leaps: Vec<Leap>,
}

/// A time in which a clock is wrong, in seconds of the clients' clocks.
#[derive(Clone, Debug)]
struct Leap {
    from: u64,
    until: u64,
    error: i64,
}

impl ExpirySetup {
    pub(crate) fn draw(servers: usize, random: &mut Random) -> Self {
        let purge_delay = random.between(1, 8);
        let range = random.between(0, purge_delay);
        let error = |_| random.between(0, range) as i64 - (range / 2) as i64;
        let errors = (0..servers).map(error).collect();
        let longest = (purge_delay - range).min(purge_delay - 1);
        let mut leaps = Vec::new();
        let mut at = random.between(0, 8);
        while longest > 0 && at < MAX_SECONDS {
            let (from, until) = (at, at + random.between(1, longest));
            let error = random.between(0, 80) as i64 - 20;
            leaps.push(Leap { from, until, error });
            at = until + random.between(1, 8);
        }
        Self {
            purge_delay,
            errors,
            leaping: random.below(servers),
            leaps,
            after: random.between(1, 8),
        }
    }

    pub(crate) fn rule(&self) -> Expiry {
        let [after, purge_delay] = [self.after, self.purge_delay].map(Duration::from_secs);
        Expiry::new(after, purge_delay)
    }
}

/// One server's expiry rule and the current error of its clock.
#[derive(Clone, Copy)]
pub(crate) struct ServerExpiry {
    rule: Expiry,
    purge_delay: u64,
    error: i64,
}

impl ServerExpiry {
    /// Returns the time by the server's clock.
    pub(crate) fn now(self, ledger: &Ledger) -> UnixNanos {
        UnixNanos((ledger.seconds() as i64 + self.error) * NANOS_PER_SECOND)
    }

    /// Returns the number of the current epoch by a clock that is never wrong.
    pub(crate) fn epoch(self, ledger: &Ledger) -> u64 {
        let length = self.purge_delay * NANOS_PER_SECOND as u64 / EPOCHS_PER_DELAY;
        ledger.seconds() as u64 * NANOS_PER_SECOND as u64 / length
    }

    pub(crate) fn is_expired(self, ledger: &Ledger, report: ReportId) -> bool {
        let time = ledger.report(report).order_time();
        self.rule.is_expired(time, self.now(ledger))
    }
}

impl World {
    /// Returns the expiry of a server and the current error of its clock.
    pub(crate) fn expiry(&self, server: usize) -> Option<ServerExpiry> {
        let lasting = self.lasting_expiry(server)?;
        let expiry = self.setup.expiry.as_ref()?;
        let now = self.ledger.seconds() as u64;
        let is_now = |leap: &&Leap| (leap.from..leap.until).contains(&now);
        let leap = expiry.leaps.iter().find(is_now);
        let leap = leap.filter(|_| server == expiry.leaping && self.stage == Stage::Faulty);
        Some(ServerExpiry {
            error: leap.map_or(lasting.error, |leap| leap.error),
            ..lasting
        })
    }

    /// Returns the expiry of a server without the leaps of its clock.
    fn lasting_expiry(&self, server: usize) -> Option<ServerExpiry> {
        let expiry = self.setup.expiry.as_ref()?;
        Some(ServerExpiry {
            rule: expiry.rule(),
            purge_delay: expiry.purge_delay,
            error: expiry.errors[server],
        })
    }

    /// Returns the time by a server's clock; any time if reports do not expire.
    pub(crate) fn clock(&self, pid: Pid) -> UnixNanos {
        let expiry = self.expiry(self.server(pid));
        expiry.map_or(UnixNanos(0), |expiry| expiry.now(&self.ledger))
    }

    /// Returns the earlier of the clocks of both ends of a link.
    pub(crate) fn earlier_clock(&self, pid: Pid, at: usize) -> UnixNanos {
        let greeted = self.processes[pid.0].links[at].greeted();
        let theirs = greeted.map(|other| self.clock(other));
        theirs.into_iter().fold(self.clock(pid), UnixNanos::min)
    }

    /// Returns whether a process leaves a report out of its batches for a neighbour.
    pub(crate) fn is_withheld(&self, pid: Pid, at: usize, report: ReportId) -> bool {
        let Some(expiry) = &self.setup.expiry else {
            return false;
        };
        let age = i128::from(self.earlier_clock(pid, at).0)
            - self.ledger.report(report).order_time().as_nanos();
        let limit = i128::from(expiry.after + expiry.purge_delay) * i128::from(NANOS_PER_SECOND);
        age > limit
    }

    /// Records that servers may lack a report, which must be expired on all of them.
    pub(crate) fn excuse(&mut self, report: ReportId) -> CheckResult {
        let mut servers = (0..self.setup.servers).filter_map(|server| self.lasting_expiry(server));
        if !servers.all(|expiry| expiry.is_expired(&self.ledger, report)) {
            return Err(format!("{report:?} is not expired and not kept or sent"));
        }
        self.ledger.excuse(report);
        Ok(())
    }

    /// Lets all servers check all their records and purge those that have been expired for long.
    pub(crate) fn purge(&mut self) -> CheckResult {
        let running: Vec<Pid> = self.running.iter().flatten().copied().collect();
        running
            .into_iter()
            .try_for_each(|pid| self.purge_process(pid))
    }

    fn purge_process(&mut self, pid: Pid) -> CheckResult {
        let Some(expiry) = self.expiry(self.server(pid)) else {
            return Ok(());
        };
        let (now, uptime) = (
            self.clock(pid),
            Duration::from_secs(self.ledger.seconds() as u64),
        );
        let replica = self.replica(pid);
        let (mut walk, steps) = (
            Walk::default(),
            replica.store().walk_steps(RECORDS_PER_STEP),
        );
        let look = |_| replica.purge_some(&mut walk, RECORDS_PER_STEP, now, uptime);
        let purged: usize = (0..steps).map(look).sum();
        let model = &mut self.processes[pid.0].model;
        let (expected, shown_again) = model.purge(&self.ledger, expiry);
        (0..shown_again).for_each(|_| self.coverage.count(Situation::ShownAgain));
        if purged != expected.len() {
            let name = self.process_name(pid);
            return Err(format!("{name} purged {purged} reports, not {expected:?}"));
        }
        for report in expected {
            trace!(self, "{} purges {report:?}", self.process_name(pid));
            self.coverage.count(Situation::Purged);
            self.excuse(report)?;
            self.check_client(pid, self.ledger.client(report))?;
        }
        self.check_unchanged(pid)
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
