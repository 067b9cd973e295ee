//! The setup that a seed draws before its schedule starts: the herd, the load and the faults.

use std::fmt;

use crate::expiry::ExpirySetup;
use crate::random::Random;
use crate::storage::StorageSetup;
use crate::topology::{self, Link};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A request never arrives.
    RequestLost,
    /// A request is processed, and its response never arrives.
    ResponseLost,
    /// A request arrives twice, as after a quick retry.
    Doubled,
    /// A request arrives long after its sender gave it up or ended.
    Late,
    /// A push is merged in pieces, with other events between.
    Pieces,
    /// The receiver gives up a push between two pieces.
    Cancelled,
    /// One server does not reach another; the opposite direction works.
    Cut,
    /// The herd is split in two.
    Partition,
    /// A process ends, and loses all that it had.
    Crash,
    /// A process is suspended; another process may replace it, and both run when it resumes.
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

    /// Returns the maximum frequency that is drawn, per mille: of the messages, or of the moments
    /// at which a server or a connection may fail.
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

/// The frequency of each fault, per mille.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults([u32; Fault::ALL.len()]);

impl Faults {
    /// Includes each fault with a probability of one half, so that all combinations occur.
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

/// The load of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One report at a time, the next when the herd is quiet. Without faults.
    Spaced,
    /// Reports at random times.
    Mixed,
    /// As `Mixed`, and one server receives reports at once until its last sequence number is at
    /// least this, which is after the first segment.
    Burst(u64),
}

/// The maximum number of reports in a push that a path carries, from the start to the end: larger
/// ones are lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ceiling {
    /// The two servers, the sender first.
    pub(crate) path: (usize, usize),
    pub(crate) reports: usize,
}

impl Ceiling {
    fn draw(links: &[Link], random: &mut Random) -> Self {
        let (one, other) = random.pick(links);
        Self {
            path: random.pick(&[(one, other), (other, one)]),
            reports: random.between(1, 20) as usize,
        }
    }
}

/// All parameters of a schedule.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The seed of the schedule.
    pub(crate) seed: u64,
    pub(crate) servers: usize,
    pub(crate) links: Vec<Link>,
    /// Maximum number of senders that a replica tells apart.
    pub(crate) senders: usize,
    /// Maximum number of reports in a batch, by the cursor.
    pub(crate) batch: usize,
    /// Reports in 20 ms from which on a link may hold changes back.
    pub(crate) min_load: usize,
    /// Maximum number of reports in a batch, by the size of the message.
    pub(crate) room: usize,
    pub(crate) clients: usize,
    pub(crate) reports: usize,
    /// Average number of ticks between two reports.
    pub(crate) pace: u64,
    pub(crate) load: Load,
    pub(crate) faults: Faults,
    /// The ceiling of a path, if any.
    pub(crate) ceiling: Option<Ceiling>,
    /// The expiry of reports, if any.
    pub(crate) expiry: Option<ExpirySetup>,
    /// The storage of the servers, if they have any.
    pub(crate) storage: Option<StorageSetup>,
    /// How often the config is edited, per mille of the moments at which something may fail.
    pub(crate) edits: u32,
    /// Maximum interval of the comparisons of two servers, in ticks; `None` for none.
    pub(crate) anti_entropy: Option<u64>,
    /// How often a server loses some of its reports, per mille of the moments at which something
    /// may fail.
    pub(crate) damages: u32,
    /// How often an image of an earlier moment replaces a process, per mille of the moments at
    /// which something may fail.
    pub(crate) images: u32,
    /// The server that fails most often.
    pub(crate) victim: usize,
    /// How often `victim` is the server that fails, per mille.
    pub(crate) aim: u32,
}

/// Value of `senders` without a limit beyond the number of bits.
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
            min_load: random.pick(&[1, 1, 2, 4, 64]),
            room: random.pick(&[1, 4, 1000, 1000, 1000]),
            clients: random.pick(&[1, 2, 4, 8, 16]),
            reports: random.between(4, 60) as usize,
            pace: random.between(1, 25),
            load: Load::Mixed,
            faults: Faults::draw(&mut random),
            ceiling: None,
            expiry: None,
            storage: None,
            edits: random.pick(&[0, 0, 30, 100, 300]),
            images: 0,
            anti_entropy: None,
            damages: 0,
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
        if setup.load == Load::Mixed && setup.expiry.is_none() && random.chance(250) {
            setup.make_imaged(&mut random);
        } else if setup.load == Load::Mixed && setup.expiry.is_none() && random.chance(250) {
            setup.anti_entropy = Some(random.between(50, 400));
            setup.damages = random.pick(&[0, 20, 100]);
        }
        if setup.load != Load::Spaced && random.chance(200) {
            setup.ceiling = Some(Ceiling::draw(&setup.links, &mut random));
        }
        // An image of a machine has its disk too, and what a fault takes from a store may be on the
        // disk: both would be other simulations.
        let is_plain = setup.images == 0 && setup.anti_entropy.is_none();
        if is_plain && random.chance(300) {
            setup.storage = Some(StorageSetup::draw(&mut random));
        }
        setup
    }

    /// Restarts one server often among others that do not fail, so that these are greeted by more
    /// incarnations than they keep.
    fn make_churn(&mut self, random: &mut Random) {
        self.aim = 1000;
        for fault in [Fault::Crash, Fault::Pause, Fault::Late] {
            self.faults = self.faults.with(fault, random.between(100, 500) as u32);
        }
        self.senders = random.pick(&[UNLIMITED_SENDERS, 1, 2, 3]);
        self.pace = 25;
        self.reports = 60;
    }

    /// Restores images, mostly while pushes are merged or their responses are lost.
    /// Comparisons find what a link left out by an ambiguous tag.
    fn make_imaged(&mut self, random: &mut Random) {
        self.anti_entropy = Some(random.between(50, 400));
        self.images = random.pick(&[30, 100, 300]);
        for fault in [
            Fault::Pieces,
            Fault::Cancelled,
            Fault::Late,
            Fault::ResponseLost,
        ] {
            if random.chance(600) {
                let per_mille = random.between(50, fault.worst()) as u32;
                self.faults = self.faults.with(fault, per_mille);
            }
        }
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
        // Often just after the end of a segment, when most of it is still live.
        let most = random.pick(&[100, 1200]);
        self.load = Load::Burst(1000 + random.between(0, most));
        // With the last of these, the feed has more changes than one read returns.
        self.clients = random.pick(&[50, 100, 150, 250, 700]);
        self.batch = random.pick(&[50, 300, 10_000]);
        self.room = random.pick(&[100, 1000]);
    }

    /// Returns all setups that are simpler by one step.
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
        if self.ceiling.is_some() {
            add(&|setup| setup.ceiling = None);
        }
        if self.expiry.is_some() {
            add(&|setup| setup.expiry = None);
        }
        if let Some(storage) = &self.storage {
            add(&|setup| setup.storage = None);
            for simpler in storage.simpler() {
                add(&|setup| setup.storage = Some(simpler));
            }
        }
        if self.edits > 0 {
            add(&|setup| setup.edits = 0);
        }
        if self.damages > 0 {
            add(&|setup| setup.damages = 0);
        }
        if self.images > 0 {
            add(&|setup| setup.images = 0);
        }
        if self.clients > 1 {
            add(&|setup| setup.clients /= 2);
        }
        if self.reports > 1 {
            add(&|setup| setup.reports /= 2);
            add(&|setup| setup.reports -= 1);
        }
        if self.min_load < 64 {
            add(&|setup| setup.min_load = 64);
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
