//! Faults, and when they occur.

use crate::model::Pid;
use crate::network::Cut;
use crate::queue::Event;
use crate::setup::Fault;
use crate::topology::NAMES;
use crate::world::{World, trace};

/// Ticks between two moments at which something may fail.
pub(crate) const FAULT_INTERVAL: u64 = 20;

impl World {
    /// Causes random faults, and schedules the next moment.
    pub(crate) fn fail(&mut self) {
        self.queue.push(self.now + FAULT_INTERVAL, Event::Fail);
        for fault in [Fault::Cut, Fault::Partition, Fault::Crash, Fault::Pause] {
            if !self.random.chance(self.faults.of(fault)) {
                continue;
            }
            match fault {
                Fault::Cut => self.cut(),
                Fault::Partition => self.partition(),
                Fault::Crash => self.crash(),
                _ => self.pause(),
            }
        }
    }

    /// Edits the config, at random.
    pub(crate) fn maybe_edit_config(&mut self) {
        if self.random.chance(self.setup.edits) {
            self.edit_config();
        }
    }

    fn cut(&mut self) {
        let (one, other) = self.setup.links[self.random.below(self.setup.links.len())];
        let (from, to) = self.random.pick(&[(one, other), (other, one)]);
        let until = self.now + self.random.between(20, 300);
        trace!(
            self,
            "{} does not reach {} until {until}", NAMES[from], NAMES[to]
        );
        self.cuts.push(Cut::new(1 << from, 1 << to, until));
    }

    fn partition(&mut self) {
        let everyone = (1 << self.setup.servers) - 1;
        let some = self.random.between(1, everyone - 1);
        let until = self.now + self.random.between(20, 400);
        trace!(
            self,
            "the herd is split until {until}: {some:07b} (Riley is the last digit)"
        );
        self.cuts.push(Cut::new(some, everyone & !some, until));
        self.cuts.push(Cut::new(everyone & !some, some, until));
    }

    fn crash(&mut self) {
        if let Some((server, pid)) = self.random_process() {
            self.end(pid);
            let rest = self.random.pick(&[0, 30, 300]);
            let at = self.now + self.random.between(0, rest);
            self.queue.push(at, Event::Start(server));
        }
    }

    fn pause(&mut self) {
        let Some((server, pid)) = self.random_process() else {
            return;
        };
        let until = self.now + self.random.between(10, 500);
        trace!(
            self,
            "{} is suspended until {until}",
            self.process_name(pid)
        );
        self.processes[pid.0].paused_until = until;
        if self.random.chance(600) {
            let at = self.now + self.random.between(0, 40);
            self.queue.push(at, Event::Start(server));
        }
    }

    pub(crate) fn random_process(&mut self) -> Option<(usize, Pid)> {
        let server = if self.random.chance(self.setup.aim) {
            self.setup.victim
        } else {
            self.random.below(self.setup.servers)
        };
        let running = &self.running[server];
        (!running.is_empty()).then(|| (server, self.random.pick(running)))
    }
}
