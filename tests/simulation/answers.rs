//! Answers to clients that wait until the disk of the server or a neighbour has their reports, and
//! what they promise. Each report of a client waits for both levels, as if two clients had sent it.
//!
//! An answer is given by the product's own rule: [`MergedPosition`] and [`FeedWatermark`].

use proxyherd::replication::feed_watermark::{FeedWatermark, MergedPosition};

use crate::clients::ReportId;
use crate::coverage::Situation;
use crate::model::Pid;
use crate::world::{CheckResult, World, trace};

/// The place in which a report must be before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Disk,
    Neighbour,
}

/// The answers of a process that wait, and what its feed has reached.
#[derive(Default)]
pub(crate) struct Answers {
    waiting: Vec<WaitingAnswer>,
    durable: FeedWatermark,
    acknowledged: FeedWatermark,
}

struct WaitingAnswer {
    report: ReportId,
    level: Level,
    position: MergedPosition,
}

/// An answer that was given since a neighbour had its report.
pub(crate) struct GivenAnswer {
    report: ReportId,
    by: Pid,
    /// The running processes of other servers that had the report then, as a set.
    holders: u64,
}

impl Answers {
    /// Returns the answers of an image, whose clients are those of its former self.
    pub(crate) fn without_clients(self) -> Self {
        Self {
            waiting: Vec::new(),
            ..self
        }
    }

    /// Forgets what neighbours acknowledged, as a process with a new incarnation does.
    pub(crate) fn forget_acknowledged(&mut self) {
        self.acknowledged = FeedWatermark::default();
    }

    fn of(&self, level: Level) -> FeedWatermark {
        match level {
            Level::Disk => self.durable,
            Level::Neighbour => self.acknowledged,
        }
    }
}

impl World {
    /// Lets the answers to a report that a process has merged wait.
    pub(crate) fn wait_for_levels(&mut self, pid: Pid, report: ReportId) -> CheckResult {
        let position = MergedPosition::of(self.replica(pid).store());
        let process = &mut self.processes[pid.0];
        let disk = process.journal.is_some().then_some(Level::Disk);
        for level in disk.into_iter().chain([Level::Neighbour]) {
            process.answers.waiting.push(WaitingAnswer {
                report,
                level,
                position,
            });
        }
        self.give_answers(pid)
    }

    /// Records that everything through `sequence` is on the disk of a process.
    pub(crate) fn reached_disk(&mut self, pid: Pid, sequence: u64) -> CheckResult {
        self.processes[pid.0].answers.durable.raise(sequence);
        self.give_answers(pid)
    }

    /// Records what a neighbour has, after it has acknowledged a push.
    pub(crate) fn reached_neighbour(&mut self, pid: Pid, at: usize) -> CheckResult {
        let process = &mut self.processes[pid.0];
        if let Some(position) = process.links[at].machine.caught_up() {
            process.answers.acknowledged.raise(position);
        }
        self.give_answers(pid)
    }

    fn give_answers(&mut self, pid: Pid) -> CheckResult {
        let answers = &mut self.processes[pid.0].answers;
        let waiting = std::mem::take(&mut answers.waiting);
        let is_reached = |it: &WaitingAnswer| answers.of(it.level).covers(it.position);
        let (reached, waiting) = waiting.into_iter().partition(is_reached);
        answers.waiting = waiting;
        reached
            .into_iter()
            .try_for_each(|answer| self.give_answer(pid, &answer))
    }

    fn give_answer(&mut self, pid: Pid, answer: &WaitingAnswer) -> CheckResult {
        let &WaitingAnswer { report, level, .. } = answer;
        trace!(
            self,
            "{} answers {report:?}: {level:?}",
            self.process_name(pid)
        );
        match level {
            Level::Disk => {
                self.coverage.count(Situation::AnsweredByDisk);
                self.promise_on_disk(pid, report);
                Ok(())
            }
            Level::Neighbour => {
                self.coverage.count(Situation::AnsweredByNeighbour);
                self.promise_at_neighbour(pid, report)
            }
        }
    }

    /// Checks that a process of another server has or had an answered report, and remembers those
    /// that run.
    fn promise_at_neighbour(&mut self, by: Pid, report: ReportId) -> CheckResult {
        let server = self.server(by);
        let others = self.processes.iter().filter(|it| it.server != server);
        let mut holders = others
            .filter(|it| it.model.has_surely(&self.ledger, report))
            .peekable();
        if holders.peek().is_none() {
            let name = self.process_name(by);
            return Err(format!(
                "{name} answers {report:?}, which no other server ever had"
            ));
        }
        let holders = holders.filter(|it| it.replica.is_some());
        let holders = holders.fold(0, |set, it| set | it.pid.bit());
        self.given.push(GivenAnswer {
            report,
            by,
            holders,
        });
        Ok(())
    }

    /// Checks at the end that answers are true, whatever happened to their servers, and that none
    /// waits without a reason.
    pub(crate) fn check_answers(&mut self) -> CheckResult {
        let newest = self.newest_held();
        let alive = self.alive().fold(0, |set, it| set | it.pid.bit());
        for given in std::mem::take(&mut self.given) {
            let GivenAnswer { report, by, .. } = given;
            let is_promised = given.holders & alive != 0 && !self.ledger.is_excused(report);
            // A holder that lost it in memory is no longer one.
            if !is_promised || self.setup.damages > 0 {
                continue;
            }
            let newest = newest[self.ledger.client(report)];
            if newest.is_none_or(|newest| self.ledger.compare(newest, report).is_lt()) {
                return Err(format!(
                    "{} answered {report:?}, which is lost",
                    self.process_name(by)
                ));
            }
            if by.bit() & alive == 0 {
                self.coverage.count(Situation::AnswerOutlivedServer);
            }
        }
        for pid in self.newest_processes() {
            let waiting = &self.processes[pid.0].answers.waiting;
            if let Some(WaitingAnswer { report, level, .. }) = waiting.first() {
                let name = self.process_name(pid);
                return Err(format!("{name} never answers {report:?}: {level:?}"));
            }
        }
        Ok(())
    }
}
