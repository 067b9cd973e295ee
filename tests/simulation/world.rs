//! The world in which a schedule runs, and its event loop.

use proxyherd::replication::replica::Replica;

use crate::answers::GivenAnswer;
use crate::clients::Ledger;
use crate::coverage::{Coverage, Situation};
use crate::model::Pid;
use crate::network::Cut;
use crate::process::Process;
use crate::queue::{Event, Queue};
use crate::random::Random;
use crate::setup::{Faults, Setup};
use crate::storage::ServerDisk;
use crate::topology::{Link, NAMES};

/// The result of a check; the error is the message of a broken guarantee.
pub(crate) type CheckResult<T = ()> = Result<T, String>;

/// Maximum number of processes while servers may fail. A set of all processes must fit in a word.
pub(crate) const MAX_PROCESSES: usize = 64 - NAMES.len();

/// Maximum number of running processes of one server: the newest, and older ones that resumed
/// beside it. It is less than the number of incarnations that a neighbour keeps; otherwise they
/// could displace one another indefinitely.
const MAX_PROCESSES_PER_SERVER: usize = 3;

/// Maximum number of images that are restored. Each runs the schedule before it once more.
const MAX_IMAGES: u32 = 2;

/// Ticks after which a link without changes sends a heartbeat.
pub(crate) const HEARTBEAT_INTERVAL: u64 = 80;

pub(crate) struct World {
    pub(crate) setup: Setup,
    /// The current config. Processes have the links of the config that they read last.
    pub(crate) config: Vec<Link>,
    pub(crate) random: Random,
    pub(crate) now: u64,
    pub(crate) queue: Queue,
    pub(crate) processes: Vec<Process>,
    /// The running processes of each server, the newest last.
    pub(crate) running: Vec<Vec<Pid>>,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) coverage: Coverage,
    /// The trace, if it is recorded.
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) stage: Stage,
    pub(crate) reports_left: usize,
    /// Ticks from the last report to the end of all faults.
    pub(crate) last_ticks: u64,
    pub(crate) healed_at: u64,
    /// Number of events so far.
    pub(crate) events: u64,
    /// Number of images that are restored yet, at most.
    pub(crate) images_left: u32,
    /// The processes whose first incarnation an image has used too, as a set.
    pub(crate) shared: u64,
    /// The disks of the servers.
    pub(crate) disks: Vec<ServerDisk>,
    /// The answers that were given since a neighbour had their reports.
    pub(crate) given: Vec<GivenAnswer>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Clients report, and faults occur.
    Faulty,
    /// No faults occur, and no client reports.
    Healed,
    /// The herd has converged; only heartbeats may be sent.
    Quiet,
}

/// Adds a line to the trace, if it is recorded.
macro_rules! trace {
    ($world:expr, $($text:tt)+) => {
        if $world.trace.is_some() {
            let text = format!($($text)+);
            $world.write(text);
        }
    };
}
pub(crate) use trace;

impl World {
    pub(crate) fn new(setup: &Setup, traced: bool) -> Self {
        let mut random = Random::new(!setup.seed);
        Self {
            ledger: Ledger::new(&mut random),
            random,
            now: 0,
            queue: Queue::default(),
            processes: Vec::new(),
            running: vec![Vec::new(); setup.servers],
            faults: setup.faults,
            cuts: Vec::new(),
            coverage: Coverage::default(),
            trace: traced.then(Vec::new),
            stage: Stage::Faulty,
            config: setup.links.clone(),
            reports_left: setup.reports,
            last_ticks: 0,
            healed_at: 0,
            events: 0,
            images_left: MAX_IMAGES,
            shared: 0,
            disks: ServerDisk::of_all(setup),
            given: Vec::new(),
            setup: setup.clone(),
        }
    }

    pub(crate) fn run_until(&mut self, end: u64) -> CheckResult {
        while self.run_one(end)? {}
        self.now = end;
        Ok(())
    }

    /// Runs the next event, if it is due at or before `end`.
    pub(crate) fn run_one(&mut self, end: u64) -> CheckResult<bool> {
        let Some((at, event)) = self.queue.pop(end) else {
            return Ok(false);
        };
        self.now = at;
        self.events += 1;
        self.handle(event)?;
        Ok(true)
    }

    fn handle(&mut self, event: Event) -> CheckResult {
        let event = match self.deliverable(event) {
            Some(event) => event,
            None => return Ok(()),
        };
        match event {
            Event::Start(server) if self.stage == Stage::Faulty => return self.start(server),
            Event::Report if self.stage == Stage::Faulty => return self.report_and_schedule_next(),
            Event::Burst if self.stage == Stage::Faulty => return self.burst(),
            Event::Fail if self.stage == Stage::Faulty => {
                self.fail();
                self.maybe_edit_config();
                self.maybe_damage();
                return self.maybe_restore_image();
            }
            Event::Start(_) | Event::Report | Event::Burst | Event::Fail => {}
            Event::Compare(pid, link, number, comparison) => {
                return self.compared(pid, link, number, comparison);
            }
            Event::Reload(pid) => self.reload(pid),
            Event::Sync(pid) => return self.sync(pid),
            Event::Step(pid, link) => return self.step(pid, link),
            Event::TimeOut(pid, link, number) => return self.time_out(pid, link, number),
            Event::Arrive(request) => return self.arrive(request),
            Event::Merge(incoming) => return self.resume(*incoming),
            Event::Response(response) => return self.receive_response(response),
        }
        Ok(())
    }

    /// Drops an event of a process that has ended, and postpones one of a suspended process.
    fn deliverable(&mut self, event: Event) -> Option<Event> {
        let pid = match &event {
            Event::Reload(pid)
            | Event::Sync(pid)
            | Event::Step(pid, _)
            | Event::TimeOut(pid, ..)
            | Event::Compare(pid, ..) => *pid,
            Event::Merge(incoming) => incoming.by,
            Event::Response(response) => response.to,
            _ => return Some(event),
        };
        let process = &mut self.processes[pid.0];
        process.replica.as_ref()?;
        let resumes_at = process.paused_until;
        if resumes_at <= self.now {
            return Some(event);
        }
        if let Event::Step(_, link) = event {
            let next_step = &mut process.links[link].next_step;
            if *next_step != self.now {
                // It was moved forward, or the link was dropped.
                return None;
            }
            *next_step = resumes_at;
        }
        self.queue.push(resumes_at, event);
        None
    }

    pub(crate) fn start(&mut self, server: usize) -> CheckResult {
        let too_many = self.processes.len() >= MAX_PROCESSES && self.stage == Stage::Faulty;
        if too_many || self.running[server].len() == MAX_PROCESSES_PER_SERVER {
            return Ok(());
        }
        // A second process is refused, since the first has locked the folder.
        let disk = self.disk(server);
        if disk.is_some() && !self.running[server].is_empty() {
            return Ok(());
        }
        let pid = Pid(self.processes.len());
        let runs = self.processes.iter().filter(|p| p.server == server).count();
        let mut process = Process::new(pid, server, runs + 1, (&self.setup, &self.config), disk);
        process.born = self.events;
        self.processes.push(process);
        self.running[server].push(pid);
        trace!(
            self,
            "{} starts, incarnation {}",
            self.process_name(pid),
            pid.incarnation()
        );
        self.wake_links(pid);
        self.check_recovered(pid)
    }

    pub(crate) fn end(&mut self, pid: Pid) {
        trace!(self, "{} ends", self.process_name(pid));
        let process = &mut self.processes[pid.0];
        process.replica = None;
        let journal = process.journal.take();
        let server = process.server;
        if journal.as_ref().is_some_and(|journal| journal.size().1 > 1) {
            self.coverage.count(Situation::EndedDuringCompaction);
        }
        self.running[server].retain(|&running| running != pid);
        if journal.is_some() {
            self.crash_disk(server);
        }
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = &Process> {
        let running = self.running.iter().flatten();
        running.map(|pid| &self.processes[pid.0])
    }

    /// Returns the replica of a running process.
    pub(crate) fn replica(&self, pid: Pid) -> &Replica {
        let replica = self.processes[pid.0].replica.as_ref();
        replica.expect("what is meant for the dead was dropped")
    }

    /// Returns the server of a process.
    pub(crate) fn server(&self, pid: Pid) -> usize {
        self.processes[pid.0].server
    }

    /// Returns the name of a process for messages.
    pub(crate) fn process_name(&self, pid: Pid) -> String {
        let process = &self.processes[pid.0];
        format!("{}#{}", NAMES[process.server], process.run)
    }

    /// Returns whether an image has used the first incarnation of a process too. Its sequence
    /// numbers then stand for the changes of several processes.
    pub(crate) fn is_shared(&self, pid: Pid) -> bool {
        self.shared & pid.bit() != 0
    }

    pub(crate) fn write(&mut self, text: String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {text}", self.now));
        }
    }
}
