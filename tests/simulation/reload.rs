//! Links that are added and removed while servers run: the config is edited, and each process reads
//! it again at its own time.

use proxyherd::replication::NeighbourId;

use crate::coverage::Situation;
use crate::model::Pid;
use crate::process::{Link, Process, name, neighbours};
use crate::queue::Event;
use crate::topology::NAMES;
use crate::world::{Stage, World, trace};

/// Maximum ticks until a process reads an edited config.
const MAX_RELOAD_DELAY: u64 = 150;

/// How often a neighbour that stays gets another address, per mille.
const MOVES_PER_MILLE: u32 = 150;

/// How often a link that was added stays at the end, per mille.
const STAYS_PER_MILLE: u32 = 500;

impl World {
    /// Adds or removes the link between two random servers.
    pub(crate) fn edit_config(&mut self) {
        let one = self.random.below(self.setup.servers);
        let far = 1 + self.random.below(self.setup.servers - 1);
        let other = (one + far) % self.setup.servers;
        let link = (one.min(other), one.max(other));
        let before = self.config.len();
        self.config.retain(|&there| there != link);
        let is_new = self.config.len() == before;
        if is_new {
            self.config.push(link);
        }
        let not = if is_new { "" } else { "not " };
        trace!(
            self,
            "{} and {} are {not}neighbours in the config", NAMES[one], NAMES[other]
        );
        for pid in [&self.running[one][..], &self.running[other]].concat() {
            let at = self.now + self.random.between(0, MAX_RELOAD_DELAY);
            self.queue.push(at, Event::Reload(pid));
        }
    }

    /// Sets the config at the end: all links of the setup, which connect the herd, and some of the
    /// others.
    pub(crate) fn settle_config(&mut self) {
        let mut config = self.setup.links.clone();
        for link in std::mem::take(&mut self.config) {
            if !config.contains(&link) && self.random.chance(STAYS_PER_MILLE) {
                config.push(link);
            }
        }
        self.config = config;
        let everyone: Vec<Pid> = self.running.iter().flatten().copied().collect();
        everyone.into_iter().for_each(|pid| self.reload(pid));
    }

    /// Reads the config in a process, and applies its links.
    pub(crate) fn reload(&mut self, pid: Pid) {
        let wanted = neighbours(&self.config, self.server(pid));
        for at in 0..self.processes[pid.0].links.len() {
            let link = &self.processes[pid.0].links[at];
            if !link.is_linked {
                continue;
            }
            if !wanted.contains(&link.to) {
                self.unlink(pid, at);
            } else if self.stage == Stage::Faulty && self.random.chance(MOVES_PER_MILLE) {
                // The link starts over at another address.
                self.processes[pid.0].links[at].reset(&self.setup);
            }
        }
        for to in wanted {
            self.link_up(pid, to);
        }
        self.wake_links(pid);
    }

    fn unlink(&mut self, pid: Pid, at: usize) {
        self.coverage.count(Situation::Unlinked);
        let Process { replica, links, .. } = &mut self.processes[pid.0];
        let replica = replica.as_ref();
        let replica = replica.expect("what is meant for the dead was dropped");
        replica.unlink(NeighbourId(at));
        links[at].end();
        let to = links[at].to;
        trace!(
            self,
            "{} drops its link with {}",
            self.process_name(pid),
            NAMES[to]
        );
    }

    /// Adds a link, if there is none.
    fn link_up(&mut self, pid: Pid, to: usize) {
        let Process {
            replica,
            links,
            model,
            ..
        } = &mut self.processes[pid.0];
        let replica = replica.as_ref();
        let replica = replica.expect("what is meant for the dead was dropped");
        let known = links.iter().position(|link| link.to == to);
        if known.is_some_and(|at| links[at].is_linked) {
            return;
        }
        let neighbour = replica.register(&name(NAMES[to])).expect("there is room");
        assert_eq!(
            neighbour.0,
            known.unwrap_or(links.len()),
            "a former neighbour keeps its number"
        );
        replica.link(neighbour);
        match links.get_mut(neighbour.0) {
            Some(link) => link.reset(&self.setup),
            None => {
                links.push(Link::new(neighbour, to, &self.setup));
                model.set_neighbours(links.len());
            }
        }
        self.coverage.count(match known {
            Some(_) => Situation::LinkedAgain,
            None => Situation::Linked,
        });
        trace!(
            self,
            "{} has a link with {}",
            self.process_name(pid),
            NAMES[to]
        );
    }
}
