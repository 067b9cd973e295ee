//! What fails, and when.

use std::time::Duration;

use crate::random::Random;
use crate::run::{Run, note};
use crate::topology::NAMES;

/// Moments at which something may fail lie this far apart.
pub(crate) const FAIL_EVERY: Duration = Duration::from_millis(100);

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages between two servers vanish, in both directions.
    Cut,
    /// Messages from one server to another vanish, and not those back.
    OneWay,
    /// Messages between two servers wait, all of them until it is over.
    Hold,
    /// Messages between two servers take much longer.
    Slow,
    /// Some messages between two servers vanish.
    Lossy,
    /// The herd falls into two parts.
    Split,
    /// A server dies, and is started again later.
    Crash,
    /// A server dies, and is started again at once.
    Bounce,
    /// A server is told to stop, and is started again later.
    Stop,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Cut,
        Self::OneWay,
        Self::Hold,
        Self::Slow,
        Self::Lossy,
        Self::Split,
        Self::Crash,
        Self::Bounce,
        Self::Stop,
    ];

    /// Each kind is there or not by a coin, so that every combination comes up.
    pub(crate) fn draw_rates(random: &mut Random) -> Rates {
        Self::ALL.map(|_| match random.chance(500) {
            true => random.between(5, 60) as u32,
            false => 0,
        })
    }
}

/// How often each kind begins, per mille of the moments at which it may.
pub(crate) type Rates = [u32; Kind::ALL.len()];

/// What is wrong with a link, and until when.
#[derive(Clone, Copy)]
pub(crate) struct Trouble {
    kind: Kind,
    until: Duration,
}

impl Run {
    /// Ends what is over, and lets anything begin that the dice say.
    pub(crate) fn fail(&mut self) {
        self.mend(false);
        for (kind, rate) in Kind::ALL.into_iter().zip(self.herd.setup.rates) {
            if self.random.chance(rate) {
                self.begin(kind);
            }
        }
    }

    /// Ends everything that is wrong, and starts every server that is down.
    pub(crate) fn heal(&mut self) {
        self.mend(true);
        self.sim.set_fail_rate(0.0);
        for &(one, other) in &self.herd.setup.links {
            // A message may have broken it, too.
            self.sim.set_link_fail_rate(NAMES[one], NAMES[other], 0.0);
            self.sim.repair(NAMES[one], NAMES[other]);
        }
        note!(self, "all is healed");
    }

    fn mend(&mut self, all: bool) {
        let now = self.sim.elapsed();
        for link in 0..self.troubles.len() {
            if let Some(trouble) = self.troubles[link].filter(|it| all || it.until <= now) {
                self.troubles[link] = None;
                self.end(link, trouble.kind);
            }
        }
        for server in 0..self.starts.len() {
            if self.starts[server].is_some_and(|at| all || at <= now) {
                self.starts[server] = None;
                self.start(server);
            }
        }
    }

    fn begin(&mut self, kind: Kind) {
        let longest = self.random.pick(&[100, 1_000, 5_000]);
        let until = self.sim.elapsed() + Duration::from_millis(self.random.between(10, longest));
        match kind {
            Kind::Split => self.split(until),
            Kind::Crash | Kind::Bounce | Kind::Stop => self.strike(kind, until),
            _ => {
                let link = self.random.below(self.herd.setup.links.len());
                self.trouble(link, kind, until);
            }
        }
    }

    fn split(&mut self, until: Duration) {
        let everyone = (1 << self.herd.setup.servers) - 1;
        let side = self.random.between(1, everyone - 1);
        let is_in = |server: usize| side & (1 << server) != 0;
        for (link, (one, other)) in self.herd.setup.links.clone().into_iter().enumerate() {
            if is_in(one) != is_in(other) {
                self.trouble(link, Kind::Cut, until);
            }
        }
    }

    /// One trouble at a time is enough for a link.
    fn trouble(&mut self, link: usize, kind: Kind, until: Duration) {
        if self.troubles[link].is_some() {
            return;
        }
        let (mut one, mut other) = self.herd.setup.links[link];
        if self.random.chance(500) {
            (one, other) = (other, one);
        }
        let (one, other) = (NAMES[one], NAMES[other]);
        note!(self, "{kind:?} from {one} to {other} until {until:?}");
        match kind {
            Kind::OneWay => self.sim.partition_oneway(one, other),
            Kind::Hold => self.sim.hold(one, other),
            Kind::Slow => {
                let longest = Duration::from_millis(self.random.between(300, 2_000));
                self.sim.set_link_max_message_latency(one, other, longest);
            }
            Kind::Lossy => {
                let rate = self.random.between(1, 200) as f64 / 1000.0;
                self.sim.set_link_fail_rate(one, other, rate);
            }
            _ => self.sim.partition(one, other),
        }
        self.troubles[link] = Some(Trouble { kind, until });
    }

    fn end(&mut self, link: usize, kind: Kind) {
        let (one, other) = self.herd.setup.links[link];
        let (one, other) = (NAMES[one], NAMES[other]);
        note!(self, "{kind:?} between {one} and {other} is over");
        let setup = &self.herd.setup;
        match kind {
            Kind::Hold => self.sim.release(one, other),
            Kind::Slow => {
                let longest = setup.latency.1;
                self.sim.set_link_max_message_latency(one, other, longest);
            }
            Kind::Lossy => self.sim.set_link_fail_rate(one, other, setup.loss),
            _ => self.sim.repair(one, other),
        }
    }

    fn strike(&mut self, kind: Kind, until: Duration) {
        let server = self.random.below(self.herd.setup.servers);
        if self.starts[server].is_some() {
            return;
        }
        let name = NAMES[server];
        note!(self, "{kind:?} of {name} until {until:?}");
        match kind {
            Kind::Bounce => return self.start(server),
            Kind::Crash => {
                self.sim.crash(name);
                self.herd.end(server);
            }
            _ => self.herd.servers[server].stop.notify_one(),
        }
        self.starts[server] = Some(until);
    }

    /// Starts a server, wherever it is in its life.
    fn start(&mut self, server: usize) {
        note!(self, "{} starts", NAMES[server]);
        self.sim.bounce(NAMES[server]);
        self.herd.end(server);
    }
}
