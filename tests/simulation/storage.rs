//! Servers with storage: when they write, what becomes of their disks, and what they must recover.

use proxyherd::model::timestamp::UnixNanos;
use proxyherd::replication::replica::Replica;
use proxyherd::storage::journal::{Journal, JournalSizes};
use proxyherd::storage::recovery::{self, RecoveryReport};

use crate::clients::ReportId;
use crate::coverage::Situation;
use crate::disk::Disk;
use crate::model::Pid;
use crate::process::Process;
use crate::queue::Event;
use crate::random::Random;
use crate::setup::Setup;
use crate::topology::NAMES;
use crate::world::{CheckResult, Stage, World, trace};

/// The storage of all servers of a herd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StorageSetup {
    /// Ticks between two syncs.
    interval: u64,
    /// Maximum number of reports in a frame.
    frame: usize,
    /// The size beyond twice the live part at which a file is compacted.
    slack: u64,
    /// The set of servers with storage.
    servers: u64,
    /// How often a disk begins to fail, per mille of the syncs.
    failing: u32,
    /// How often the power fails with the process, per mille.
    power: u32,
    /// How often a bit changes while a server does not run, per mille.
    flips: u32,
    /// How often the disk is lost with the process, per mille.
    losses: u32,
}

impl StorageSetup {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let all = u64::MAX;
        Self {
            interval: random.pick(&[3, 10, 50, 200]),
            frame: random.pick(&[1, 3, 1000]),
            slack: random.pick(&[300, 2000, 5000]),
            servers: random.pick(&[all, all, random_set(all, 1), random_set(all, 2)]),
            failing: random.pick(&[0, 0, 50, 300]),
            power: random.pick(&[0, 500, 1000]),
            flips: random.pick(&[0, 0, 0, 200]),
            losses: random.pick(&[0, 0, 0, 300]),
        }
    }

    /// Returns all setups that are simpler by one step.
    pub(crate) fn simpler(self) -> Vec<Self> {
        let mut all = Vec::new();
        if self.failing > 0 {
            all.push(Self { failing: 0, ..self });
        }
        if self.power > 0 {
            all.push(Self { power: 0, ..self });
        }
        if self.flips > 0 {
            all.push(Self { flips: 0, ..self });
        }
        if self.losses > 0 {
            all.push(Self { losses: 0, ..self });
        }
        if self.slack < 5000 {
            let slack = 5000;
            all.push(Self { slack, ..self });
        }
        all
    }
}

/// Returns every second or third server.
fn random_set(all: u64, kind: u32) -> u64 {
    all / ((1 << (kind + 1)) - 1)
}

/// The disk of a server, and what is on it.
pub(crate) struct ServerDisk {
    disk: Option<Disk>,
    /// The newest report of each client that is durable.
    durable: Vec<Option<ReportId>>,
    /// The newest report of each client that was answered since it was on the disk.
    answered: Vec<Option<ReportId>>,
    is_damaged: bool,
}

impl ServerDisk {
    pub(crate) fn of_all(setup: &Setup) -> Vec<Self> {
        let has_storage = |server: usize| {
            let storage = setup.storage.as_ref();
            storage.is_some_and(|storage| storage.servers >> server & 1 == 1)
        };
        let disk = |server| Self::new(has_storage(server), setup.clients);
        (0..setup.servers).map(disk).collect()
    }

    fn new(has_storage: bool, clients: usize) -> Self {
        Self {
            disk: has_storage.then(Disk::default),
            durable: vec![None; clients],
            answered: vec![None; clients],
            is_damaged: false,
        }
    }
}

/// The journal of a process whose server has storage, and what recovery found.
pub(crate) struct Recovered {
    pub(crate) journal: Journal<Disk>,
    pub(crate) report: RecoveryReport,
}

/// Recovers what is on a disk.
pub(crate) fn recover(disk: Disk, replica: &mut Replica, setup: &Setup) -> Recovered {
    let (journal, report) = recovery::recover(disk, replica, UnixNanos(0));
    let storage = setup.storage.expect("a server with a disk has storage");
    let journal = journal.with_sizes(JournalSizes {
        frame_reports: storage.frame,
        slack_bytes: storage.slack,
        step_bytes: 1,
    });
    Recovered { journal, report }
}

impl World {
    /// Returns the disk of a server with storage.
    pub(crate) fn disk(&self, server: usize) -> Option<Disk> {
        self.disks[server].disk.clone()
    }

    /// Decides what becomes of the disk of a server whose process ends.
    pub(crate) fn crash_disk(&mut self, server: usize) {
        let (Some(disk), Some(storage)) = (self.disk(server), self.setup.storage) else {
            return;
        };
        disk.fail_after(None);
        if self.random.chance(storage.power) {
            trace!(self, "{} loses its power", NAMES[server]);
            disk.cut_power(&mut self.random);
        }
        if self.random.chance(storage.losses) {
            trace!(self, "{} loses its disk", NAMES[server]);
            self.coverage.count(Situation::DiskLost);
            self.disks[server] = ServerDisk::new(true, self.setup.clients);
            return;
        }
        if self.stage == Stage::Faulty
            && self.random.chance(storage.flips)
            && disk.flip_bit(&mut self.random)
        {
            trace!(self, "a bit changes on the disk of {}", NAMES[server]);
            self.disks[server].is_damaged = true;
        }
    }

    /// Checks that a process which started has everything that was durable, or something newer.
    pub(crate) fn check_recovered(&mut self, pid: Pid) -> CheckResult {
        let server = self.server(pid);
        let Some(report) = self.processes[pid.0].recovery.take() else {
            return Ok(());
        };
        self.learn_recovered(pid)?;
        let at = self.now + 1;
        self.queue.push(at, Event::Sync(pid));
        let disk = &mut self.disks[server];
        let is_damaged = std::mem::take(&mut disk.is_damaged);
        trace!(self, "{} recovers: {report:?}", self.process_name(pid));
        for (situation, is_seen) in [
            (Situation::Recovered, report.reports > 0),
            (Situation::TornEnd, report.bytes_cut > 0),
            (Situation::DiskDamaged, report.damaged > 0),
        ] {
            if is_seen {
                self.coverage.count(situation);
            }
        }
        let disk = &mut self.disks[server];
        let durable = std::mem::take(&mut disk.durable);
        if is_damaged {
            disk.answered = vec![None; self.setup.clients];
        }
        let disk = &self.disks[server];
        let model = &self.processes[pid.0].model;
        let is_lost = |report: &&ReportId| !is_damaged && !model.has(&self.ledger, **report);
        for (reports, promise) in [(&durable, "durable"), (&disk.answered, "answered")] {
            if let Some(lost) = reports.iter().flatten().find(is_lost) {
                let name = self.process_name(pid);
                return Err(format!("{name} lost {lost:?}, which was {promise}"));
            }
        }
        self.disks[server].durable = vec![None; self.setup.clients];
        self.note_durable(pid);
        Ok(())
    }

    /// Lets the model of a process begin with what the process recovered.
    fn learn_recovered(&mut self, pid: Pid) -> CheckResult {
        let Process { replica, model, .. } = &mut self.processes[pid.0];
        let replica = replica.as_ref().expect("it has just started");
        let mut found: Vec<Result<(u64, ReportId), String>> = Vec::new();
        let each = |stored: &proxyherd::replication::store::StoredReport<'_>| {
            let report = self.ledger.find(&stored.report);
            found.push(report.map(|report| (stored.number, report)));
        };
        replica.store().scan(each, || ());
        let mut reports = found.into_iter().collect::<Result<Vec<_>, _>>()?;
        reports.sort_by_key(|&(number, _)| number);
        let last = replica.store().last();
        model.recover(&self.ledger, &reports, last);
        let facts = replica.facts();
        for facts in &facts {
            model.recover_applied(&facts.applied);
        }
        for applied in facts.into_iter().flat_map(|facts| facts.applied) {
            self.coverage.count(Situation::AppliedRecovered);
            let other = Pid::of_incarnation(applied.of.get());
            self.check_has(pid, other, applied.through)?;
        }
        self.check_unchanged(pid)
    }

    /// Lets a process write to its storage, and take some steps of a compaction.
    pub(crate) fn sync(&mut self, pid: Pid) -> CheckResult {
        let Some(storage) = self.setup.storage else {
            return Ok(());
        };
        let server = self.server(pid);
        let is_failing = self.stage == Stage::Faulty && self.random.chance(storage.failing);
        let operations = is_failing.then(|| self.random.between(0, 6));
        let steps = self.random.between(0, 4);
        let disk = self.disk(server).ok_or("a server without a disk syncs")?;
        disk.fail_after(operations);
        let Process {
            replica, journal, ..
        } = &mut self.processes[pid.0];
        let replica = replica.as_ref();
        let replica = replica.expect("what is meant for the dead was dropped");
        let journal = journal.as_mut().ok_or("a process without storage syncs")?;
        let (before, compactions) = (journal.durable(), journal.counts().compactions);
        let last = replica.store().last();
        let appended = journal.append(replica);
        let compact = |_| journal.compact(replica);
        let compacted = (0..steps).map(compact).find(Result::is_err);
        let (durable, has_compacted) = (
            journal.durable(),
            journal.counts().compactions > compactions,
        );
        let error = appended.err().or(compacted.and_then(Result::err));
        if durable < before || durable > last {
            return Err(format!("{durable} is durable after {before}, of {last}"));
        }
        if let Some(error) = error {
            trace!(self, "{}: {error}", self.process_name(pid));
            self.coverage.count(Situation::WriteFailed);
        }
        if has_compacted {
            self.coverage.count(Situation::Compacted);
        }
        disk.fail_after(None);
        if durable > before || has_compacted {
            trace!(
                self,
                "{} has {durable} of {last} on the disk",
                self.process_name(pid)
            );
        }
        self.note_durable(pid);
        let at = self.now + self.random.between(1, 2 * storage.interval);
        self.queue.push(at, Event::Sync(pid));
        self.reached_disk(pid, durable)
    }

    /// Remembers a report that a process answered since it is on its disk.
    pub(crate) fn promise_on_disk(&mut self, pid: Pid, report: ReportId) {
        let (server, client) = (self.server(pid), self.ledger.client(report));
        let answered = &mut self.disks[server].answered[client];
        if answered.is_none_or(|newest| self.ledger.compare(newest, report).is_lt()) {
            *answered = Some(report);
        }
    }

    /// Remembers what a process has on its disk.
    fn note_durable(&mut self, pid: Pid) {
        let server = self.server(pid);
        let process = &self.processes[pid.0];
        let through = process.journal.as_ref().map_or(0, Journal::durable);
        for client in 0..self.setup.clients {
            let held = process.model.held(client);
            if let Some(held) = held.filter(|held| held.number <= through) {
                self.disks[server].durable[client] = Some(held.report);
            }
        }
    }

    /// Checks at the end that a new process would have everything, and that files are small.
    pub(crate) fn check_disks(&mut self) -> CheckResult {
        let pids: Vec<Pid> = self.alive().map(|process| process.pid).collect();
        for pid in pids {
            let Process {
                replica, journal, ..
            } = &mut self.processes[pid.0];
            let (Some(replica), Some(journal)) = (replica, journal) else {
                continue;
            };
            let settled = journal.append(replica).and_then(|()| {
                // One that was begun is finished in as many steps as there are frames.
                let mut steps = 0..10_000;
                while journal.needs_compaction(replica) && steps.next().is_some() {
                    journal.compact(replica)?;
                }
                Ok(())
            });
            settled.map_err(|error| format!("the disk works, and {error}"))?;
            let (durable, last) = (journal.durable(), replica.store().last());
            if durable != last {
                return Err(format!("only {durable} of {last} is durable"));
            }
            let (used, _) = journal.size();
            let clients = replica.store().clients() as u64;
            let slack = self.setup.storage.map_or(0, |storage| storage.slack);
            // Texts have up to 160 bytes, and frames of a single report as many again.
            if used > 2 * 320 * clients + slack + 1000 {
                return Err(format!("{used} bytes for {clients} clients"));
            }
            self.reached_disk(pid, durable)?;
        }
        Ok(())
    }
}
