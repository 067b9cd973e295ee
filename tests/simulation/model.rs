//! The model of one process: a second, plain implementation of what it must have.

use std::cmp::Ordering;

use proxyherd::replication::Incarnation;
use proxyherd::replication::lineage::Acknowledged;
use proxyherd::replication::messages::{PushHeader, Rejection};
use proxyherd::replication::store::MergeResult;

use crate::clients::{Ledger, ReportId};
use crate::expiry::{EPOCHS_PER_DELAY, ServerExpiry};

/// Number of a neighbour's incarnations that a replica must keep. With more of them it may drop
/// one, and the model is no longer exact.
const MAX_INCARNATIONS: u32 = 4;

/// Index of a process in the world's list. There are at most 64 processes, so that a set of them
/// fits in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid(pub(crate) usize);

impl Pid {
    pub(crate) fn bit(self) -> u64 {
        1 << self.0
    }

    /// Returns the process's incarnation, which is never 0.
    pub(crate) fn incarnation(self) -> u64 {
        self.0 as u64 + 1
    }

    pub(crate) fn of_incarnation(incarnation: u64) -> Self {
        Self(incarnation as usize - 1)
    }
}

/// One client's newest report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldReport {
    pub(crate) report: ReportId,
    /// The report's sequence number in the feed.
    pub(crate) number: u64,
    /// The set of processes that sent exactly this report.
    pub(crate) from: u64,
    /// Whether a client of the process sent it first.
    pub(crate) is_own: bool,
    /// The epoch since when every purge walk found the report expired.
    expired_since: Option<u64>,
}

/// The progress of pushes from one process to another, at the receiver.
#[derive(Clone, Copy, Default)]
struct SenderProgress {
    /// The last sequence number of a finished push.
    applied: u64,
    /// Everything that the other has up to this sequence number was found here.
    verified: u64,
}

#[derive(Default)]
pub(crate) struct Model {
    held: Vec<Option<HeldReport>>,
    changes: Vec<ReportId>,
    progress: Vec<SenderProgress>,
    /// The set of incarnations that greeted, by the neighbour's index.
    greeted_by: Vec<u64>,
    /// The number of those that greeted an earlier incarnation of this process.
    greeted_before: u32,
    /// What earlier processes of the server had applied.
    recovered: Vec<Acknowledged>,
}

impl Model {
    pub(crate) fn new(clients: usize, neighbours: usize) -> Self {
        Self {
            held: vec![None; clients],
            greeted_by: vec![0; neighbours],
            ..Self::default()
        }
    }

    pub(crate) fn held(&self, client: usize) -> Option<HeldReport> {
        self.held[client]
    }

    /// Removes the report of a client, which the process has lost.
    pub(crate) fn damage(&mut self, client: usize) {
        self.held[client] = None;
    }

    /// Returns the number of clients with a report.
    pub(crate) fn clients(&self) -> usize {
        self.held.iter().flatten().count()
    }

    /// Sets the number of current and former neighbours.
    pub(crate) fn set_neighbours(&mut self, neighbours: usize) {
        self.greeted_by.resize(neighbours, 0);
    }

    /// Returns the sequence number of the newest change.
    pub(crate) fn last(&self) -> u64 {
        self.changes.len() as u64
    }

    /// Returns the number of reports of own clients after `after`.
    pub(crate) fn count_own_after(&self, after: u64) -> usize {
        let own = |held: &&HeldReport| held.number > after && held.is_own;
        self.held.iter().flatten().filter(own).count()
    }

    /// Forgets what was applied and who greeted, as a process with a new incarnation does.
    pub(crate) fn renew(&mut self) {
        for progress in &mut self.progress {
            progress.applied = 0;
        }
        let greeted = self.greeted_by.iter().map(|by| by.count_ones());
        self.greeted_before += greeted.max().unwrap_or_default();
        self.greeted_by.fill(0);
    }

    /// Merges a pushed report. `from` is the set of its senders.
    pub(crate) fn merge_pushed(
        &mut self,
        ledger: &Ledger,
        report: ReportId,
        from: u64,
    ) -> MergeResult {
        let merged = self.merge(ledger, report, from);
        if let (MergeResult::Newer, Some(held)) = (merged, &mut self.held[ledger.client(report)]) {
            held.is_own = false;
        }
        merged
    }

    /// Merges a report. `from` is the set of its senders.
    pub(crate) fn merge(&mut self, ledger: &Ledger, report: ReportId, from: u64) -> MergeResult {
        let client = ledger.client(report);
        let order = self.held[client].map(|held| ledger.compare(report, held.report));
        match (order, &mut self.held[client]) {
            (Some(Ordering::Less), _) => MergeResult::Stale,
            (Some(Ordering::Equal), Some(held)) => {
                held.from |= from;
                MergeResult::Duplicate
            }
            (_, held) => {
                self.changes.push(report);
                *held = Some(HeldReport {
                    report,
                    number: self.changes.len() as u64,
                    from,
                    is_own: from == 0,
                    expired_since: None,
                });
                MergeResult::Newer
            }
        }
    }

    /// Learns the order in which reports of one batch changed the store, which the process chooses.
    /// `number_of` returns a client's sequence number in the feed. The reports after `before` must
    /// have all the numbers from there on, each once.
    pub(crate) fn learn_order(
        &mut self,
        ledger: &Ledger,
        before: u64,
        number_of: impl Fn(usize) -> Option<u64>,
    ) -> Result<(), String> {
        let mut changed = self.changes.split_off(before as usize);
        changed.sort_by_key(|&report| number_of(ledger.client(report)));
        for &report in &changed {
            self.changes.push(report);
            let (client, number) = (ledger.client(report), self.last());
            if number_of(client) != Some(number) {
                return Err(format!("{report:?} does not have number {number}"));
            }
            if let Some(held) = &mut self.held[client] {
                held.number = number;
            }
        }
        Ok(())
    }

    /// Returns whether the process has this report or a newer one of its client, as far as links
    /// can know. A report that servers may lack counts as present, as does a doubtful one.
    pub(crate) fn has(&self, ledger: &Ledger, report: ReportId) -> bool {
        ledger.is_doubtful(report) || self.has_surely(ledger, report)
    }

    /// Returns whether the process has this report or a newer one of its client. A report that
    /// servers may lack, or may have lost, counts as present.
    pub(crate) fn has_surely(&self, ledger: &Ledger, report: ReportId) -> bool {
        let held = self.held[ledger.client(report)];
        ledger.is_excused(report)
            || ledger.is_damaged(report)
            || held.is_some_and(|held| ledger.compare(held.report, report).is_ge())
    }

    /// Visits all reports as a purge walk does. Returns the purged ones, and the number of those
    /// that were found expired earlier and are not.
    pub(crate) fn purge(
        &mut self,
        ledger: &Ledger,
        expiry: ServerExpiry,
    ) -> (Vec<ReportId>, usize) {
        let epoch = expiry.epoch(ledger);
        let (mut purged, mut shown_again) = (Vec::new(), 0);
        for entry in &mut self.held {
            let Some(held) = entry else { continue };
            if !expiry.is_expired(ledger, held.report) {
                shown_again += usize::from(held.expired_since.take().is_some());
            } else if epoch - *held.expired_since.get_or_insert(epoch) > EPOCHS_PER_DELAY {
                purged.push(held.report);
                *entry = None;
            }
        }
        (purged, shown_again)
    }

    /// Returns the current reports in the feed after `after`, up to and including `through`, in
    /// order.
    pub(crate) fn current<'a>(
        &'a self,
        ledger: &'a Ledger,
        after: u64,
        through: u64,
    ) -> impl Iterator<Item = ReportId> + 'a {
        let span = after.min(self.last()) as usize..through.min(self.last()) as usize;
        let numbered = (after + 1..).zip(&self.changes[span]);
        numbered.filter_map(move |(number, &report)| {
            let held = self.held[ledger.client(report)]?;
            (held.number == number).then_some(report)
        })
    }

    /// Returns whether the model of a neighbour's incarnations is exact.
    pub(crate) fn is_exact(&self, neighbour: usize) -> bool {
        self.greeted_by[neighbour].count_ones() + self.greeted_before <= MAX_INCARNATIONS
    }

    pub(crate) fn has_greeted(&self, neighbour: usize, pid: Pid) -> bool {
        self.greeted_by[neighbour] & pid.bit() != 0
    }

    pub(crate) fn record_greeting(&mut self, neighbour: usize, pid: Pid) {
        self.greeted_by[neighbour] |= pid.bit();
    }

    pub(crate) fn applied(&self, pid: Pid) -> u64 {
        self.progress
            .get(pid.0)
            .map_or(0, |progress| progress.applied)
    }

    /// Lets the progress of a process begin with what it says was acknowledged of an earlier one,
    /// as far as that was applied until then. `age` tells how many incarnations ago this server had
    /// one.
    pub(crate) fn continue_progress(
        &mut self,
        neighbour: usize,
        pid: Pid,
        acknowledged: Acknowledged,
        age: impl Fn(Incarnation) -> Option<usize>,
    ) {
        let Some(oldest) = age(acknowledged.by) else {
            return;
        };
        let earlier = Pid::of_incarnation(acknowledged.of.get());
        let now = oldest == 0 && self.has_greeted(neighbour, earlier);
        let now = now.then(|| self.applied(earlier));
        let recovered = self.recovered.iter();
        let recovered = recovered
            .filter(|it| it.of == acknowledged.of && age(it.by).is_some_and(|own| own >= oldest));
        let applied = recovered.map(|it| it.through).chain(now).max();
        self.finish(pid, applied.unwrap_or(0).min(acknowledged.through));
    }

    /// Begins with what an earlier process of the server had applied of a neighbour.
    pub(crate) fn recover_applied(&mut self, applied: &[Acknowledged]) {
        self.greeted_before = self.greeted_before.max(applied.len() as u32);
        self.recovered.extend(applied);
    }

    /// Begins with reports that were recovered, in the order of their sequence numbers, and with
    /// the last sequence number.
    pub(crate) fn recover(&mut self, ledger: &Ledger, reports: &[(u64, ReportId)], last: u64) {
        for &(number, report) in reports {
            // Numbers between are of changes that are not there.
            self.changes.resize(number as usize, report);
            self.held[ledger.client(report)] = Some(HeldReport {
                report,
                number,
                from: 0,
                is_own: false,
                expired_since: None,
            });
        }
        if let Some(&(_, newest)) = reports.last() {
            self.changes.resize(last as usize, newest);
        }
    }

    /// Records a finished push up to `to`. Returns the last applied sequence number.
    pub(crate) fn finish(&mut self, pid: Pid, to: u64) -> u64 {
        let progress = self.progress_of(pid);
        progress.applied = progress.applied.max(to);
        progress.applied
    }

    /// Returns how this process must respond to a push of `pid`, if the model [is
    /// exact](Self::is_exact).
    pub(crate) fn judge(
        &self,
        neighbour: usize,
        (pid, own): (Pid, u64),
        push: &PushHeader<'_>,
    ) -> Result<(), Rejection> {
        let (from, applied) = (push.from, self.applied(pid));
        if push.receiver_incarnation != own {
            Err(Rejection::WrongIncarnation)
        } else if !self.has_greeted(neighbour, pid) {
            Err(Rejection::NotGreeted)
        } else if from > applied {
            Err(Rejection::Gap { applied, from })
        } else {
            Ok(())
        }
    }

    /// Checks that this process has everything that `other` has up to `through`, or newer. What was
    /// found before is not checked again: neither a process nor a sequence number ever goes back.
    pub(crate) fn verify(
        &mut self,
        ledger: &Ledger,
        (pid, other): (Pid, &Self),
        through: u64,
    ) -> Result<(), String> {
        if through > other.last() {
            return Err(format!("number {through} was never assigned"));
        }
        let verified = self.progress_of(pid).verified;
        if through <= verified {
            return Ok(());
        }
        let mut needed = other.current(ledger, verified, through);
        if let Some(missing) = needed.find(|&report| !self.has(ledger, report)) {
            return Err(format!("{missing:?} up to number {through} is missing"));
        }
        drop(needed);
        self.progress_of(pid).verified = through;
        Ok(())
    }

    fn progress_of(&mut self, Pid(pid): Pid) -> &mut SenderProgress {
        if self.progress.len() <= pid {
            self.progress.resize(pid + 1, SenderProgress::default());
        }
        &mut self.progress[pid]
    }
}
