//! The guarantees, checked when the herd is quiet.

use proxyherd::model::report::Report;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::queries::digest::{self, Buckets};
use proxyherd::queries::hash_range::HashRange;
use proxyherd::replication::NeighbourId;
use proxyherd::replication::send_cursor::{BatchBuilder, MAX_BATCH_REPORTS, SendCursor};
use proxyherd::replication::tag::Tag;

use crate::clients::ReportId;
use crate::model::Pid;
use crate::process::Process;
use crate::world::{CheckResult, World};

/// A batch that only counts reports.
#[derive(Default)]
struct Count(usize);

impl BatchBuilder for Count {
    fn add(&mut self, _: &Report<'_>, _: Tag, _: usize) -> bool {
        self.0 += 1;
        true
    }

    fn bytes(&self) -> usize {
        0
    }
}

impl World {
    /// Returns the newest report of each client that any running process has.
    pub(crate) fn newest_held(&self) -> Vec<Option<ReportId>> {
        let newest = |client| {
            let held = self
                .alive()
                .filter_map(|process| process.model.held(client));
            let reports = held.map(|held| held.report);
            reports.max_by(|&one, &other| self.ledger.compare(one, other))
        };
        (0..self.setup.clients).map(newest).collect()
    }

    /// Checks that all servers have the same newest report of each client, and that no report that
    /// some process had at the heal (`floor`) was lost.
    pub(crate) fn check_converged(&mut self, floor: &[Option<ReportId>]) -> CheckResult {
        self.purge()?;
        let newest = self.newest_held();
        for (client, (&floor, &newest)) in floor.iter().zip(&newest).enumerate() {
            // A report that servers may lack is expired on all of them.
            let floor = floor.filter(|&floor| !self.ledger.is_excused(floor));
            let order = floor.map(|floor| newest.map(|it| self.ledger.compare(it, floor)));
            if order.is_some_and(|order| order.is_none_or(|order| order.is_lt())) {
                return Err(format!("{floor:?} was lost, the newest is {newest:?}"));
            }
            self.check_agreement(client, newest)?;
        }
        self.check_digests()?;
        self.alive()
            .try_for_each(|process| self.check_bounds(process))
    }

    /// Checks that all servers have equal digests, in whatever order they got their reports. The
    /// time is that of the latest of their clocks, by which all purged and withheld reports are
    /// expired.
    fn check_digests(&self) -> CheckResult {
        let processes = self.newest_processes();
        let now = processes.iter().map(|&pid| self.clock(pid)).max();
        let all = Buckets::new(HashRange::ALL.into(), 1).expect("there are hashes");
        let sums = |pid: &Pid| {
            let now = now.expect("a herd has servers");
            digest::scan(self.replica(*pid), now, &all, || ()).sums
        };
        let mut all_sums = processes.iter().map(sums);
        let first = all_sums.next();
        match all_sums.position(|sums| Some(&sums) != first.as_ref()) {
            None => Ok(()),
            Some(other) => Err(format!(
                "the digests of {} and {} differ",
                self.process_name(processes[0]),
                self.process_name(processes[other + 1])
            )),
        }
    }

    /// Checks that all servers have this report of a client, or return none.
    fn check_agreement(&mut self, client: usize, newest: Option<ReportId>) -> CheckResult {
        let is_kept = newest.is_none_or(|newest| !self.ledger.is_excused(newest));
        for pid in self.newest_processes() {
            self.check_client(pid, client)?;
            let held = self.processes[pid.0].model.held(client);
            let shown = self.check_located(pid, client)?;
            if is_kept && held.map(|held| held.report) != newest {
                return Err(format!(
                    "{} does not have {newest:?}",
                    self.process_name(pid)
                ));
            }
            if !is_kept && shown.is_some() {
                return Err(format!("{} returns {shown:?}", self.process_name(pid)));
            }
        }
        Ok(())
    }

    pub(crate) fn newest_processes(&self) -> Vec<Pid> {
        let newest = self.running.iter().filter_map(|running| running.last());
        newest.copied().collect()
    }

    /// Checks that a feed has one entry for each client, and the number of those of own clients.
    fn check_bounds(&self, process: &Process) -> CheckResult {
        let replica = self.replica(process.pid);
        let mut count = Count::default();
        // By this clock no report has expired.
        let now = UnixNanos(i64::MIN);
        SendCursor::new(NeighbourId(0), MAX_BATCH_REPORTS).fill(
            replica,
            now,
            (usize::MAX, u64::MAX),
            &mut count,
        );
        let clients = process.model.clients();
        let store = replica.store();
        let found = [count.0, store.feed_entries(), store.clients()];
        if found != [clients; 3] {
            let name = self.process_name(process.pid);
            return Err(format!("{name} counts {found:?}, not {clients} clients"));
        }
        let after = process.model.last() / 2;
        let mut own = 0;
        replica.own_reports_after(after, &[], |_| own += 1);
        let expected = process.model.count_own_after(after);
        if own != expected {
            let name = self.process_name(process.pid);
            return Err(format!("{name} counts {own} of its own, not {expected}"));
        }
        Ok(())
    }

    /// Checks the number of reports that one change in a quiet herd without faults caused.
    pub(crate) fn check_spread(&self, changed: bool, sent: u64) -> CheckResult {
        let (links, servers) = (self.setup.links.len() as u64, self.setup.servers as u64);
        let allowed = if changed {
            servers - 1..=2 * links - (servers - 1)
        } else {
            0..=0
        };
        if allowed.contains(&sent) {
            Ok(())
        } else {
            Err(format!("{sent} reports were sent, not {allowed:?}"))
        }
    }
}
