//! The course of a schedule, from the first start to the end.

use proxyherd::replication::send_cursor::Span;

use crate::clients::ReportId;
use crate::coverage::Situation;
use crate::faults::FAULT_INTERVAL;
use crate::model::Pid;
use crate::process::{Link, Process};
use crate::queue::Event;
use crate::setup::{Faults, Load};
use crate::world::{CheckResult, HEARTBEAT_INTERVAL, Stage, World, trace};

/// Maximum ticks until a healed herd is quiet. Few schedules need a tenth of them.
const MAX_SETTLE_TICKS: u64 = 20_000;

impl World {
    /// Runs the schedule to its end, or to the first broken guarantee.
    pub(crate) fn run(&mut self) -> CheckResult {
        self.begin();
        match self.setup.load {
            Load::Spaced => self.report_one_by_one()?,
            Load::Mixed | Load::Burst(_) => self.run_with_faults()?,
        }
        let floor = self.heal()?;
        // The last late greetings may have made a neighbour drop a running sender's incarnation;
        // the sender's next heartbeat repairs this.
        self.settle(2 * HEARTBEAT_INTERVAL)?;
        self.settle_by_comparisons()?;
        self.check_converged(&floor)?;
        self.check_quiet()?;
        self.check_disks()?;
        self.check_answers()
    }

    /// Schedules the first events, and draws all that does not depend on events.
    pub(crate) fn begin(&mut self) {
        self.last_ticks = self.random.between(0, 150);
        for server in 0..self.setup.servers {
            let at = self.random.between(0, 30);
            self.queue.push(at, Event::Start(server));
        }
        if let Load::Burst(_) = self.setup.load {
            let at = self.random.between(31, 300);
            self.queue.push(at, Event::Burst);
        }
        if self.setup.load != Load::Spaced {
            self.queue.push(1, Event::Report);
            self.queue.push(FAULT_INTERVAL, Event::Fail);
        }
    }

    fn report_one_by_one(&mut self) -> CheckResult {
        self.run_until(30)?;
        self.settle(0)?;
        for _ in 0..self.setup.reports {
            let (before, changes) = (self.coverage.of(Situation::Sent), self.changes());
            self.report()?;
            let changed = self.changes() > changes;
            self.settle(0)?;
            self.check_spread(changed, self.coverage.of(Situation::Sent) - before)?;
        }
        Ok(())
    }

    /// Returns the number of changes on all servers.
    fn changes(&self) -> u64 {
        let lasts = self.processes.iter().map(|process| process.model.last());
        lasts.sum()
    }

    fn run_with_faults(&mut self) -> CheckResult {
        while self.reports_left > 0 {
            self.run_until(self.now + FAULT_INTERVAL)?;
        }
        self.run_until(self.now + self.last_ticks)
    }

    /// Ends all faults. Returns the newest report of each client that any process has now, which
    /// must survive.
    fn heal(&mut self) -> CheckResult<Vec<Option<ReportId>>> {
        self.stage = Stage::Healed;
        self.healed_at = self.now;
        self.faults = Faults::default();
        self.cuts.clear();
        trace!(self, "all faults end, and clients stop reporting");
        self.settle_config();
        for server in 0..self.setup.servers {
            self.heal_server(server)?;
        }
        Ok(self.newest_held())
    }

    /// Leaves one process of the server that neighbours reach, and at random older ones that only
    /// push.
    fn heal_server(&mut self, server: usize) -> CheckResult {
        for pid in self.running[server].clone() {
            self.processes[pid.0].paused_until = self.now;
            self.wake_links(pid);
        }
        let newest = self.running[server].last().copied();
        for pid in self.running[server].clone() {
            // One that nobody fills would push again what it holds, indefinitely.
            let is_lasting = self.setup.anti_entropy.is_none() && self.random.chance(500);
            if Some(pid) != newest && !is_lasting {
                self.end(pid);
            }
        }
        if newest.is_none() {
            self.start(server)?;
        }
        Ok(())
    }

    /// Runs until nothing but heartbeats was pending for some ticks.
    fn settle(&mut self, ticks: u64) -> CheckResult {
        let limit = self.now + MAX_SETTLE_TICKS;
        let mut settled_at = self.now;
        while settled_at + ticks > self.now || !self.is_settled() {
            if self.now > limit {
                return Err(format!("not quiet within {MAX_SETTLE_TICKS} ticks"));
            }
            self.run_until(self.now + 5)?;
            if !self.is_settled() {
                settled_at = self.now;
            }
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        if self.queue.is_busy() {
            return false;
        }
        let is_settled = |process: &Process| {
            let mut links = process.links.iter().filter(|link| link.is_linked);
            links.all(|link| self.is_link_settled(process, link))
        };
        self.alive().all(is_settled)
    }

    fn is_link_settled(&self, process: &Process, link: &Link) -> bool {
        let replica = process.replica.as_ref();
        // A push from before the heal may have been lost.
        let newest = self.running[link.to].last();
        let is_heartbeat = |span: Span| span.reports == 0 && link.sent_at > self.healed_at;
        !link.machine.must_greet()
            && link.greeted().map(Pid::incarnation)
                == newest.map(|pid| self.processes[pid.0].incarnation)
            && replica.is_some_and(|replica| link.cursor().is_at_end(replica))
            && link
                .waiting
                .is_none_or(|it| it.span.is_some_and(is_heartbeat))
    }

    fn check_quiet(&mut self) -> CheckResult {
        trace!(self, "the herd has converged");
        self.stage = Stage::Quiet;
        let since = self.now;
        self.run_until(since + 3 * HEARTBEAT_INTERVAL)?;
        let links = self.alive().flat_map(|process| &process.links);
        let mut links = links.filter(|link| link.is_linked);
        if links.all(|link| link.sent_at > since) {
            Ok(())
        } else {
            Err("a link sent no heartbeat".to_owned())
        }
    }

    /// Sends a client's report, and schedules the next one.
    pub(crate) fn report_and_schedule_next(&mut self) -> CheckResult {
        if self.reports_left > 0 {
            self.reports_left -= 1;
            let gap = self.random.between(1, 2 * self.setup.pace);
            self.queue.push(self.now + gap, Event::Report);
        }
        self.report()
    }
}
