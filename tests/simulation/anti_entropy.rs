//! Servers that lose some of their reports, as by a mistaken purge, and the comparisons that find it.

use std::collections::VecDeque;
use std::time::Duration;

use proxyherd::model::timestamp::UnixNanos;
use proxyherd::queries::digest::{self, BucketSum, Buckets};
use proxyherd::queries::hash_range::{HashRange, HashRanges, client_hash};
use proxyherd::queries::scan_visible;
use proxyherd::replication::anti_entropy::{CollectedSize, ComparedRange, RangeDigest};
use proxyherd::replication::expiry::Expiry;
use proxyherd::replication::replica::Replica;
use proxyherd::replication::send_cursor::Span;
use proxyherd::replication::store::{StoredReport, Walk};

use crate::clients::{Ledger, ReportId};
use crate::coverage::Situation;
use crate::links::REPORT_BYTES;
use crate::model::Pid;
use crate::queue::{Body, Comparison, Event, Push};
use crate::world::{CheckResult, Stage, World, trace};

/// Number of ranges that are compared: few, so that a range holds several clients.
const RANGES: usize = 8;

/// Maximum ticks of a comparison, or of a collection.
const MAX_SCAN_TICKS: u64 = 20;

/// Maximum ticks until comparisons have repaired a healed herd.
const MAX_REPAIR_TICKS: u64 = 40_000;

/// Ticks in which links finish what they began before all servers were alike.
const LAST_TICKS: u64 = 1500;

/// Seconds after which reports expire. No schedule reaches them.
const NEVER: u64 = 1_000_000_000;

/// Returns an expiry rule by which no report of a schedule ever expires, except at a server whose
/// clock is far ahead.
pub(crate) fn unused_rule() -> Expiry {
    Expiry::new(Duration::from_secs(NEVER), Duration::from_secs(1))
}

fn ranges() -> Buckets {
    Buckets::new(HashRange::ALL.into(), RANGES).expect("there are as many hashes")
}

fn digests(replica: &Replica) -> Vec<BucketSum> {
    digest::scan(replica, UnixNanos(0), &ranges(), || ()).sums
}

impl World {
    /// Lets a server lose some of its reports, at random. A report that no other server holds stays:
    /// its loss would be final.
    pub(crate) fn maybe_damage(&mut self) {
        if !self.random.chance(self.setup.damages) {
            return;
        }
        let Some((_, pid)) = self.random_process() else {
            return;
        };
        let others = self.alive().filter(|process| process.pid != pid);
        let others: Vec<_> = others.map(|process| &process.model).collect();
        let is_elsewhere = |client: usize| {
            let held = self.processes[pid.0].model.held(client);
            held.is_none_or(|held| {
                others.iter().any(|other| {
                    let other = other.held(client);
                    other.is_some_and(|other| other.report == held.report)
                })
            })
        };
        if !(0..self.setup.clients).all(is_elsewhere) {
            return;
        }
        let replica = self.replica(pid);
        // A clock far ahead, through a whole walk and a part of another one.
        let (clock, records) = (UnixNanos(i64::MAX), replica.store().clients());
        let mut walk = Walk::default();
        for uptime in [0, 1000] {
            let steps = replica.store().walk_steps(1);
            let limit = if uptime == 0 { steps } else { 1 + steps / 2 };
            for _ in 0..limit {
                replica.purge_some(&mut walk, 1, clock, Duration::from_secs(uptime));
            }
        }
        let lost: Vec<usize> = (0..self.setup.clients)
            .filter(|&client| {
                let is_held = self.processes[pid.0].model.held(client).is_some();
                is_held
                    && replica
                        .store()
                        .find(Ledger::client_id(client), |_| ())
                        .is_none()
            })
            .collect();
        trace!(
            self,
            "{} loses the reports of clients {lost:?} of {records}",
            self.process_name(pid)
        );
        for client in lost {
            self.coverage.count(Situation::Damaged);
            self.processes[pid.0].model.damage(client);
            self.ledger.note_damage(client);
        }
    }

    /// Begins a comparison: the digests of both servers are of different moments.
    pub(crate) fn compare(&mut self, pid: Pid, at: usize) {
        let ours = digests(self.replica(pid));
        self.finish_later(pid, at, Comparison::Digests(ours));
    }

    /// Begins a collection of the reports of some ranges.
    pub(crate) fn collect(&mut self, pid: Pid, at: usize, wanted: &[usize]) -> CheckResult {
        let all: Vec<HashRange> = ranges().ranges().collect();
        let wanted = HashRanges::new(wanted.iter().map(|&range| all[range]).collect());
        let wanted = wanted.expect("they are in order");
        let limit = self.link(pid, at).machine.max_batch_bytes() / REPORT_BYTES;
        let limit = limit.min(self.setup.batch).max(1);
        let mut found = Vec::new();
        let add = |stored: &StoredReport<'_>| {
            if wanted
                .find(client_hash(stored.report.client.text()))
                .is_some()
            {
                found.push(self.ledger.find(&stored.report));
            }
        };
        scan_visible(self.replica(pid), UnixNanos(0), add, || ());
        let found: Vec<ReportId> = found.into_iter().collect::<Result<_, _>>()?;
        let batches = found.chunks(limit).map(<[ReportId]>::to_vec);
        let batches = Comparison::Batches(batches.collect());
        self.finish_later(pid, at, batches);
        Ok(())
    }

    fn finish_later(&mut self, pid: Pid, at: usize, comparison: Comparison) {
        let number = self.link(pid, at).greeting;
        let then = self.now + self.random.between(1, MAX_SCAN_TICKS);
        let event = Event::Compare(pid, at, number, comparison);
        self.queue.push(then, event);
    }

    /// Records the outcome of a comparison or a collection, unless the link has greeted meanwhile.
    pub(crate) fn compared(
        &mut self,
        pid: Pid,
        at: usize,
        number: u32,
        comparison: Comparison,
    ) -> CheckResult {
        let now = self.time();
        let link = self.link(pid, at);
        if link.greeting != number || !link.is_linked {
            return Ok(());
        }
        match comparison {
            Comparison::Digests(ours) => {
                let theirs = self.neighbours_digests(pid, at);
                let pairs = theirs.map(|theirs| compared(&ours, &theirs));
                let random = self.random.number();
                let link = self.link(pid, at);
                link.machine.compared(now, pairs.as_deref(), random);
                self.coverage.count(Situation::Compared);
            }
            Comparison::Batches(batches) => {
                let size = |reports: usize| CollectedSize {
                    reports,
                    bytes: reports * REPORT_BYTES,
                };
                let sizes: VecDeque<_> = batches.iter().map(|it| size(it.len())).collect();
                link.machine.collected(now, sizes);
                link.collected = batches;
            }
        }
        let now = self.now;
        self.step_at(pid, at, now);
        Ok(())
    }

    /// Returns the digests of the neighbour; `None` if it does not answer as the process that was
    /// greeted.
    fn neighbours_digests(&mut self, pid: Pid, at: usize) -> Option<Vec<BucketSum>> {
        let (to, greeted) = (self.link(pid, at).to, self.link(pid, at).greeted());
        let other = self.receiver(to).filter(|&other| Some(other) == greeted)?;
        let is_awake = self.processes[other.0].paused_until <= self.now;
        is_awake.then(|| digests(self.replica(other)))
    }

    pub(crate) fn push_again(&mut self, pid: Pid, at: usize, span: Span) -> CheckResult {
        let link = self.link(pid, at);
        let greeted = link.greeted().ok_or("a link pushes before it greets")?;
        let reports = link.collected.pop_front();
        let reports = reports.ok_or("a link pushes again what was not collected")?;
        if span.from != span.to || span.reports != reports.len() {
            return Err(format!("{span:?} is for {} reports", reports.len()));
        }
        self.coverage.count(Situation::PushedAgain);
        let push = Push {
            greeted,
            span,
            tags: vec![None; reports.len()].into(),
            reports: reports.into(),
            vector: [].into(),
        };
        self.request(pid, at, Body::Push(push))
    }

    /// Waits until comparisons have repaired all damage.
    pub(crate) fn settle_by_comparisons(&mut self) -> CheckResult {
        if self.setup.anti_entropy.is_none() {
            return Ok(());
        }
        let limit = self.now + MAX_REPAIR_TICKS;
        while !self.is_alike() {
            if self.now > limit {
                return Err("comparisons do not repair the herd".to_owned());
            }
            self.run_until(self.now + 100)?;
        }
        // Ranges that differed before are pushed once more.
        self.run_until(self.now + LAST_TICKS)
    }

    fn is_alike(&self) -> bool {
        debug_assert!(self.stage == Stage::Healed);
        // An older process of a server only pushes.
        let newest = self.newest_processes().into_iter();
        let mut all = newest.map(|pid| digests(self.replica(pid)));
        let first = all.next();
        all.all(|other| Some(other) == first)
    }
}

fn compared(ours: &[BucketSum], theirs: &[BucketSum]) -> Vec<ComparedRange> {
    let digest = |sum: &BucketSum| RangeDigest {
        clients: sum.clients,
        hashes: sum.hashes,
    };
    let pair = |(ours, theirs): (&BucketSum, &BucketSum)| ComparedRange {
        ours: digest(ours),
        theirs: digest(theirs),
        is_settled: !ours.is_unsettled && !theirs.is_unsettled,
    };
    ours.iter().zip(theirs).map(pair).collect()
}
