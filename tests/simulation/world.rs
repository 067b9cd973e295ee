//! The world that a schedule runs in, and what makes it go on: one event after
//! another.

use proxyherd::replication::replica::Replica;

use crate::clients::Ledger;
use crate::coverage::Coverage;
use crate::model::Pid;
use crate::network::Cut;
use crate::process::Process;
use crate::queue::{Event, Queue};
use crate::random::Random;
use crate::setup::{Faults, Setup};
use crate::topology::{Link, NAMES};

/// What a check gives: a broken promise is told in text.
pub(crate) type CheckResult<T = ()> = Result<T, String>;

/// Most processes while servers may fail; a set of all that ever were must fit
/// into a word.
const MAX_PROCESSES: usize = 64 - NAMES.len();

/// Most processes of one server at a time: one, and older ones that woke
/// beside it. Fewer than a neighbour remembers, or they could push one another
/// out of its memory for ever.
const MAX_PROCESSES_PER_SERVER: usize = 3;

/// A link with nothing to say body so this often.
pub(crate) const HEARTBEAT_INTERVAL: u64 = 80;

pub(crate) struct World {
    pub(crate) setup: Setup,
    /// Who is to talk with whom now; processes know what they have read.
    pub(crate) config: Vec<Link>,
    pub(crate) random: Random,
    pub(crate) now: u64,
    pub(crate) queue: Queue,
    pub(crate) processes: Vec<Process>,
    /// The processes of each server that have not ended, the newest last.
    pub(crate) living: Vec<Vec<Pid>>,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) coverage: Coverage,
    /// What happened, if anyone wants to read it.
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) stage: Stage,
    pub(crate) reports_left: usize,
    pub(crate) healed_at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Clients report, and things fail.
    Faulty,
    /// Nothing fails any more, and no client reports.
    Healed,
    /// All is said: nothing but heartbeats may be sent.
    Quiet,
}

/// Writes a line of the trace, if there is one.
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
            living: vec![Vec::new(); setup.servers],
            faults: setup.faults,
            cuts: Vec::new(),
            coverage: Coverage::default(),
            trace: traced.then(Vec::new),
            stage: Stage::Faulty,
            config: setup.links.clone(),
            reports_left: setup.reports,
            healed_at: 0,
            setup: setup.clone(),
        }
    }

    pub(crate) fn run_until(&mut self, end: u64) -> CheckResult {
        while let Some((at, event)) = self.queue.pop(end) {
            self.now = at;
            self.handle(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> CheckResult {
        let event = match self.deliverable(event) {
            Some(event) => event,
            None => return Ok(()),
        };
        match event {
            Event::Start(server) if self.stage == Stage::Faulty => self.start(server),
            Event::Report if self.stage == Stage::Faulty => return self.report_and_schedule_next(),
            Event::Burst if self.stage == Stage::Faulty => return self.burst(),
            Event::Fail if self.stage == Stage::Faulty => {
                self.fail();
                self.maybe_edit_config();
                return self.maybe_purge();
            }
            Event::Start(_) | Event::Report | Event::Burst | Event::Fail => {}
            Event::Reload(pid) => self.reload(pid),
            Event::Step(pid, link) => return self.step(pid, link),
            Event::TimeOut(pid, link, number) => return self.time_out(pid, link, number),
            Event::Arrive(request) => return self.arrive(request),
            Event::Merge(incoming) => return self.resume(*incoming),
            Event::Response(response) => return self.receive_response(response),
        }
        Ok(())
    }

    /// Drops what is meant for a process that has ended, and puts off what is
    /// meant for one that stands still.
    fn deliverable(&mut self, event: Event) -> Option<Event> {
        let pid = match &event {
            Event::Reload(pid) | Event::Step(pid, _) | Event::TimeOut(pid, ..) => *pid,
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
            process.links[link].next_step = resumes_at;
        }
        self.queue.push(resumes_at, event);
        None
    }

    pub(crate) fn start(&mut self, server: usize) {
        let too_many = self.processes.len() >= MAX_PROCESSES && self.stage == Stage::Faulty;
        if too_many || self.living[server].len() == MAX_PROCESSES_PER_SERVER {
            return;
        }
        let pid = Pid(self.processes.len());
        let runs = self.processes.iter().filter(|p| p.server == server).count();
        let place = (server, self.expiry(server));
        let process = Process::new(pid, place, runs + 1, (&self.setup, &self.config));
        self.processes.push(process);
        self.living[server].push(pid);
        trace!(
            self,
            "{} starts, incarnation {}",
            self.process_name(pid),
            pid.incarnation()
        );
        self.wake_links(pid);
    }

    pub(crate) fn end(&mut self, pid: Pid) {
        trace!(self, "{} ends", self.process_name(pid));
        let process = &mut self.processes[pid.0];
        process.replica = None;
        self.living[process.server].retain(|&living| living != pid);
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = &Process> {
        let living = self.living.iter().flatten();
        living.map(|pid| &self.processes[pid.0])
    }

    /// The replica of a process that has not ended.
    pub(crate) fn replica(&self, pid: Pid) -> &Replica {
        let replica = self.processes[pid.0].replica.as_ref();
        replica.expect("what is meant for the dead was dropped")
    }

    /// The server whose process this is.
    pub(crate) fn server(&self, pid: Pid) -> usize {
        self.processes[pid.0].server
    }

    /// The process's name, for people to read.
    pub(crate) fn process_name(&self, pid: Pid) -> String {
        let process = &self.processes[pid.0];
        format!("{}#{}", NAMES[process.server], process.run)
    }

    pub(crate) fn write(&mut self, text: String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {text}", self.now));
        }
    }
}
