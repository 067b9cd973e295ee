//! What a seed draws before its schedule begins: the herd, the load and the
//! faults.

use std::fmt;

use crate::expiry::ExpirySetup;
use crate::random::Random;
use crate::topology::{self, Link};

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A request never arrives.
    RequestLost,
    /// A request is served, and its sender never hears of it.
    ResponseLost,
    /// A request arrives twice, as after a quick retry.
    Doubled,
    /// A request arrives long after its sender gave it up, or died.
    Late,
    /// A push is merged in pieces, with other events between.
    Pieces,
    /// A push is given up by its receiver between two pieces.
    Cancelled,
    /// One server does not reach another, whose requests reach it.
    Cut,
    /// The herd falls into two parts.
    Partition,
    /// A process ends, and all that it held is lost.
    Crash,
    /// A process stands still; it may be replaced, and wake beside its
    /// replacement.
    Pause,
}

impl Fault {
    pub(crate) const ALL: [Self; 10] = [
        Self::RequestLost,
        Self::ResponseLost,
        Self::Doubled,
        Self::Late,
        Self::Pieces,
        Self::Cancelled,
        Self::Cut,
        Self::Partition,
        Self::Crash,
        Self::Pause,
    ];

    /// The most often that it is drawn, per mille: of the messages, or of the
    /// moments at which a server or a connection may fail.
    fn worst(self) -> u64 {
        match self {
            Self::RequestLost | Self::ResponseLost | Self::Doubled | Self::Cancelled => 250,
            Self::Late => 150,
            Self::Pieces => 700,
            Self::Cut | Self::Pause => 120,
            Self::Partition => 60,
            Self::Crash => 200,
        }
    }
}

/// How often each fault happens, per mille.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults([u32; Fault::ALL.len()]);

impl Faults {
    /// Each fault is there or not by a coin, so that every combination of them
    /// comes up.
    fn draw(random: &mut Random) -> Self {
        Self(Fault::ALL.map(|fault| {
            if random.chance(500) {
                random.between(5, fault.worst()) as u32
            } else {
                0
            }
        }))
    }

    pub(crate) fn of(self, fault: Fault) -> u32 {
        self.0[fault as usize]
    }

    fn with(mut self, fault: Fault, per_mille: u32) -> Self {
        self.0[fault as usize] = per_mille;
        self
    }

    fn without(self, fault: Fault) -> Self {
        self.with(fault, 0)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = Fault::ALL.into_iter().filter(|&fault| self.of(fault) > 0);
        f.debug_map()
            .entries(there.map(|fault| (fault, self.of(fault))))
            .finish()
    }
}

/// How clients load the herd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One report at a time, the next when the net is quiet. Without faults.
    Spaced,
    /// Reports at random times.
    Mixed,
    /// As mixed, and one server takes so many at once that its feed gets to
    /// this number, which is past a segment or two.
    Burst(u64),
}

/// All that a schedule depends on.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Decides the schedule, all else being equal.
    pub(crate) seed: u64,
    pub(crate) servers: usize,
    pub(crate) links: Vec<Link>,
    /// How many senders a replica can tell apart.
    pub(crate) senders: usize,
    /// Most reports in a batch, by the cursor's rule.
    pub(crate) batch: usize,
    /// Most reports in a batch, by the room in the message.
    pub(crate) room: usize,
    pub(crate) clients: usize,
    pub(crate) reports: usize,
    /// Average ticks between two reports.
    pub(crate) pace: u64,
    pub(crate) load: Load,
    pub(crate) faults: Faults,
    /// Do servers forget old reports?
    pub(crate) expiry: Option<ExpirySetup>,
    /// How often the config is edited, per mille of the moments at which
    /// something may fail.
    pub(crate) edits: u32,
    /// The server that fails most often,
    pub(crate) victim: usize,
    /// and how often that it is it, per mille.
    pub(crate) aim: u32,
}

/// More senders than any replica can tell apart: as many bits as there are.
pub(crate) const UNLIMITED_SENDERS: usize = usize::MAX;

impl Setup {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (servers, links) = topology::draw(&mut random);
        let mut setup = Self {
            seed,
            servers,
            links,
            senders: random.pick(&[
                UNLIMITED_SENDERS,
                UNLIMITED_SENDERS,
                UNLIMITED_SENDERS,
                0,
                1,
                2,
                3,
            ]),
            batch: random.pick(&[1, 2, 3, 5, 10, 10_000]),
            room: random.pick(&[1, 4, 1000, 1000, 1000]),
            clients: random.pick(&[1, 2, 4, 8, 16]),
            reports: random.between(4, 60) as usize,
            pace: random.between(1, 25),
            load: Load::Mixed,
            faults: Faults::draw(&mut random),
            expiry: None,
            edits: random.pick(&[0, 0, 30, 100, 300]),
            victim: random.below(servers),
            aim: 500,
        };
        match random.below(64) {
            0..8 => setup.make_spaced(),
            8..10 => setup.make_burst(&mut random),
            10..18 => setup.make_churn(&mut random),
            18..30 => setup.expiry = Some(ExpirySetup::draw(servers, &mut random)),
            _ => {}
        }
        setup
    }

    /// One server runs many short runs among others that do not fail, so that
    /// these record_greeting more incarnations than they remember.
    fn make_churn(&mut self, random: &mut Random) {
        self.aim = 1000;
        for fault in [Fault::Crash, Fault::Pause, Fault::Late] {
            self.faults = self.faults.with(fault, random.between(100, 500) as u32);
        }
        self.senders = random.pick(&[UNLIMITED_SENDERS, 1, 2, 3]);
        self.pace = 25;
        self.reports = 60;
    }

    fn make_spaced(&mut self) {
        let faults = Fault::ALL.into_iter().filter(|&f| f != Fault::Pieces);
        self.faults = faults.fold(self.faults, Faults::without);
        self.load = Load::Spaced;
        self.edits = 0;
        self.senders = UNLIMITED_SENDERS;
        self.reports = self.reports.min(15);
    }

    fn make_burst(&mut self, random: &mut Random) {
        // Often just past the end of a segment, when most of it still counts.
        let most = random.pick(&[100, 1200]);
        self.load = Load::Burst(1000 + random.between(0, most));
        // The last is more than one look at the feed takes in.
        self.clients = random.pick(&[50, 100, 150, 250, 700]);
        self.batch = random.pick(&[50, 300, 10_000]);
        self.room = random.pick(&[100, 1000]);
    }

    /// Each way in which this setup can be made simpler by one step.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut setup = self.clone();
            change(&mut setup);
            all.push(setup);
        };
        for fault in Fault::ALL {
            if self.faults.of(fault) > 0 {
                add(&|setup| setup.faults = setup.faults.without(fault));
            }
        }
        if self.servers > 2 {
            add(&|setup| setup.make_line(setup.servers - 1));
        }
        if self.links.len() >= self.servers {
            add(&|setup| setup.make_line(setup.servers));
        }
        if matches!(self.load, Load::Burst(_)) {
            add(&|setup| setup.load = Load::Mixed);
        }
        if self.expiry.is_some() {
            add(&|setup| setup.expiry = None);
        }
        if self.edits > 0 {
            add(&|setup| setup.edits = 0);
        }
        if self.clients > 1 {
            add(&|setup| setup.clients /= 2);
        }
        if self.reports > 1 {
            add(&|setup| setup.reports /= 2);
            add(&|setup| setup.reports -= 1);
        }
        if self.batch < 10_000 || self.room < 1000 {
            add(&|setup| (setup.batch, setup.room) = (10_000, 1000));
        }
        all
    }

    fn make_line(&mut self, servers: usize) {
        self.servers = servers;
        self.links = topology::line(servers);
        self.victim = self.victim.min(servers - 1);
    }
}
