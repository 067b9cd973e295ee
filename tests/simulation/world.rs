//! The world that a schedule runs in, and what makes it go on: one event after
//! another.

use proxyherd::replication::replica::Replica;

use crate::clients::Ledger;
use crate::model::Pid;
use crate::network::Cut;
use crate::process::Process;
use crate::queue::{Event, Queue};
use crate::random::Random;
use crate::setup::{Faults, Setup};
use crate::tally::Tally;
use crate::topology::{Link, NAMES};

/// What a check gives: a broken promise is told in words.
pub(crate) type Checked<T = ()> = Result<T, String>;

/// Most processes while servers may fail; a set of all that ever were must fit
/// into a word.
const MAX_PROCESSES: usize = 64 - NAMES.len();

/// Most processes of one server at a time: one, and older ones that woke
/// beside it. Fewer than a neighbour remembers, or they could push one another
/// out of its memory for ever.
const MOST_AT_A_TIME: usize = 3;

/// A link with nothing to say says so this often.
pub(crate) const HEARTBEAT: u64 = 80;

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
    pub(crate) tally: Tally,
    /// What happened, if anyone wants to read it.
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) stage: Stage,
    pub(crate) reports_left: usize,
    pub(crate) healed_at: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Clients report, and things fail.
    Storm,
    /// Nothing fails any more, and no client reports.
    Healed,
    /// All is said: nothing but heartbeats may be sent.
    Quiet,
}

/// Writes a line of the trace, if there is one.
macro_rules! note {
    ($world:expr, $($words:tt)+) => {
        if $world.trace.is_some() {
            let words = format!($($words)+);
            $world.write(words);
        }
    };
}
pub(crate) use note;

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
            tally: Tally::default(),
            trace: traced.then(Vec::new),
            stage: Stage::Storm,
            config: setup.links.clone(),
            reports_left: setup.reports,
            healed_at: 0,
            setup: setup.clone(),
        }
    }

    pub(crate) fn run_until(&mut self, end: u64) -> Checked {
        while let Some((at, event)) = self.queue.pop(end) {
            self.now = at;
            self.handle(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Checked {
        let event = match self.when_awake(event) {
            Some(event) => event,
            None => return Ok(()),
        };
        match event {
            Event::Start(server) if self.stage == Stage::Storm => self.start(server),
            Event::Report if self.stage == Stage::Storm => return self.report_and_go_on(),
            Event::Burst if self.stage == Stage::Storm => return self.burst(),
            Event::Fail if self.stage == Stage::Storm => {
                self.fail();
                self.edit_now_and_then();
                return self.sweep_now_and_then();
            }
            Event::Start(_) | Event::Report | Event::Burst | Event::Fail => {}
            Event::Reload(pid) => self.reload(pid),
            Event::Step(pid, link) => return self.step(pid, link),
            Event::TimeOut(pid, link, number) => return self.time_out(pid, link, number),
            Event::Arrive(request) => return self.arrive(request),
            Event::Merge(taking) => return self.resume(*taking),
            Event::Answer(answer) => return self.answered(answer),
        }
        Ok(())
    }

    /// Drops what is meant for a process that has ended, and puts off what is
    /// meant for one that stands still.
    fn when_awake(&mut self, event: Event) -> Option<Event> {
        let pid = match &event {
            Event::Reload(pid) | Event::Step(pid, _) | Event::TimeOut(pid, ..) => *pid,
            Event::Merge(taking) => taking.by,
            Event::Answer(answer) => answer.to,
            _ => return Some(event),
        };
        let process = &mut self.processes[pid.0];
        process.replica.as_ref()?;
        let wakes = process.paused_until;
        if wakes <= self.now {
            return Some(event);
        }
        if let Event::Step(_, link) = event {
            process.links[link].next_step = wakes;
        }
        self.queue.push(wakes, event);
        None
    }

    pub(crate) fn start(&mut self, server: usize) {
        let too_many = self.processes.len() >= MAX_PROCESSES && self.stage == Stage::Storm;
        if too_many || self.living[server].len() == MOST_AT_A_TIME {
            return;
        }
        let pid = Pid(self.processes.len());
        let lives = self.processes.iter().filter(|p| p.server == server).count();
        let place = (server, self.sight(server));
        let process = Process::new(pid, place, lives + 1, (&self.setup, &self.config));
        self.processes.push(process);
        self.living[server].push(pid);
        note!(
            self,
            "{} starts, incarnation {}",
            self.who(pid),
            pid.incarnation()
        );
        self.wake_links(pid);
    }

    pub(crate) fn end(&mut self, pid: Pid) {
        note!(self, "{} ends", self.who(pid));
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
    pub(crate) fn who(&self, pid: Pid) -> String {
        let process = &self.processes[pid.0];
        format!("{}#{}", NAMES[process.server], process.life)
    }

    pub(crate) fn write(&mut self, words: String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {words}", self.now));
        }
    }
}
