//! Carries out a plan: breaks the herd, mends it, and asks for its promises.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crowd::Ask;
use super::ends;
use super::herd::NAMES;
use super::life::{Life, Ports};
use super::plan::{Fault, Kind, Plan};
use super::talk;
use super::tally::Tally;
use super::world::World;
use crate::common::Mode;
use crate::common::Random;

/// A neighbour must have a server's reports when that is told to stop, where
/// nothing has struck the two or the way between them for so long: longer than
/// a link takes to find out that it is down, and to come up again.
const CALM: Duration = Duration::from_secs(4);

/// At most so many servers are struck at a time.
const MOST_STRUCK: usize = 2;

/// A fault that finds nothing whole to strike waits so long.
const POSTPONED: Duration = Duration::from_millis(100);

/// How long clients rush to a server before it is told to stop.
const RUSH: Duration = Duration::from_millis(50);

/// So many clients report before anything breaks.
const FIRST: usize = 100;

pub(crate) struct Driver<'a> {
    world: &'a Arc<World>,
    random: Random,
    plan: Plan,
    start: Instant,
    /// What will be done, and when.
    due: Vec<(Instant, Act)>,
    /// Since when each server has been whole, in the order of their names.
    servers: Vec<Option<Instant>>,
    /// And each way.
    ways: Vec<Option<Instant>>,
    trace: Vec<String>,
}

enum Act {
    Begin(Fault),
    /// A server starts again where it was.
    Restart(usize, Ports),
    Thaw(usize, Arc<Life>),
    /// A life goes on beside its replacement.
    Wake(usize, Arc<Life>),
    /// It ends.
    Leave(usize, Arc<Life>),
    Mend(Vec<usize>),
}

impl<'a> Driver<'a> {
    pub(crate) fn new(world: &'a Arc<World>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let start = Instant::now();
        Self {
            world,
            random,
            plan,
            start,
            due: Vec::new(),
            servers: vec![Some(start - CALM); NAMES.len()],
            ways: vec![Some(start - CALM); world.herd.ways().len()],
            trace: Vec::new(),
        }
    }

    /// What happened, and when.
    pub(crate) fn trace(&self) -> String {
        self.trace.join("\n")
    }

    /// What came up so far.
    pub(crate) fn tally(&self) -> Tally {
        self.world.tally.lock().unwrap().clone()
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.first_reports()?;
        self.begin_load();
        self.start = Instant::now();
        let faults = self.plan.faults.iter();
        self.due = faults
            .map(|&fault| (self.start + fault.at, Act::Begin(fault)))
            .collect();
        while let Some((when, act)) = self.next(self.start + self.plan.heals) {
            self.wait_until(when)?;
            self.act(act)?;
        }
        self.wait_until(self.start + self.plan.heals)?;
        self.heal()?;
        let healed = Instant::now();
        self.note("all is well".to_owned());
        self.world.end_load()?;
        self.end(healed)
    }

    /// Some clients report, and every server knows it.
    fn first_reports(&mut self) -> Result<(), String> {
        for life in self.world.herd.lives() {
            let (crowd, random) = (&self.world.crowd, &mut self.random);
            let newcomers = (0..FIRST / NAMES.len()).map(|_| crowd.newcomer(random));
            let newcomers = newcomers.collect();
            talk::say_all(self.world, &life, newcomers)?;
        }
        ends::agree(self.world)
    }

    fn begin_load(&mut self) {
        let load = &self.world.load;
        for life in self.world.herd.lives() {
            load.attend(self.world, &life, &mut self.random);
        }
        load.roam(self.world, &mut self.random);
    }

    fn end(&mut self, healed: Instant) -> Result<(), String> {
        ends::agree(self.world)?;
        let agreed = healed.elapsed();
        ends::fall_silent(self.world)?;
        let silent = healed.elapsed();
        self.note(format!(
            "they agreed after {agreed:.1?}, and were silent after {silent:.1?}"
        ));
        let mut tally = self.world.tally.lock().unwrap();
        (tally.agreed, tally.silent) = (agreed, silent);
        drop(tally);
        ends::still_agree(self.world)?;
        self.world
            .herd
            .lives()
            .iter()
            .try_for_each(|life| sound(life, &life.told()))
    }

    /// Takes what is to be done next, before `end`.
    fn next(&mut self, end: Instant) -> Option<(Instant, Act)> {
        let due = self.due.iter().enumerate();
        let (place, &(when, _)) = due.min_by_key(|(_, (when, _))| *when)?;
        (when < end).then(|| self.due.swap_remove(place))
    }

    fn wait_until(&self, when: Instant) -> Result<(), String> {
        while Instant::now() < when {
            self.world.check()?;
            std::thread::sleep(Duration::from_millis(2));
        }
        self.world.check()
    }

    /// Ends all that was begun, and begins nothing more.
    fn heal(&mut self) -> Result<(), String> {
        self.due.retain(|(_, act)| !matches!(act, Act::Begin(_)));
        while let Some((_, act)) = self.due.pop() {
            self.act(act)?;
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::Begin(fault) => self.begin(fault)?,
            Act::Restart(server, ports) => self.restart(server, ports),
            Act::Thaw(server, life) => {
                self.note(format!("{} goes on", life.name));
                life.thaw();
                self.servers[server] = Some(Instant::now());
            }
            Act::Wake(server, old) => {
                self.note(format!("the old {} goes on beside the new", old.name));
                old.thaw();
                let beside = Duration::from_millis(self.random.between(300, 1500));
                self.due
                    .push((Instant::now() + beside, Act::Leave(server, old)));
            }
            Act::Leave(server, old) => self.leave(server, &old)?,
            Act::Mend(ways) => self.mend(&ways),
        }
        Ok(())
    }

    fn begin(&mut self, fault: Fault) -> Result<(), String> {
        let begun = match fault.kind {
            Kind::Break(mode) => self.break_ways(fault, mode),
            Kind::Stop => self.stop(fault)?,
            _ => self.strike(fault)?,
        };
        if !begun {
            self.due
                .push((Instant::now() + POSTPONED, Act::Begin(fault)));
        }
        Ok(())
    }

    /// The servers that a fault may strike, the one that it would strike best
    /// first.
    fn targets(&self, fault: Fault) -> Vec<usize> {
        let whole = |server: &usize| self.servers[*server].is_some();
        let all = (0..NAMES.len()).map(|n| (n + fault.place) % NAMES.len());
        match self.servers.iter().filter(|since| since.is_none()).count() {
            MOST_STRUCK.. => Vec::new(),
            _ => all.filter(whole).collect(),
        }
    }

    fn strike(&mut self, fault: Fault) -> Result<bool, String> {
        let Some(&server) = self.targets(fault).first() else {
            return Ok(false);
        };
        let life = self.current(server);
        self.servers[server] = None;
        let later = Instant::now() + fault.lasts;
        match fault.kind {
            Kind::KillAndRestart => {
                self.kill(&life)?;
                self.restart(server, life.ports);
            }
            Kind::Kill => {
                self.kill(&life)?;
                self.due.push((later, Act::Restart(server, life.ports)));
            }
            Kind::Freeze => {
                self.freeze(&life);
                self.due.push((later, Act::Thaw(server, life)));
            }
            _ => {
                self.freeze(&life);
                self.replace(&life);
                self.due.push((later, Act::Wake(server, life)));
            }
        }
        Ok(true)
    }

    fn kill(&mut self, life: &Life) -> Result<(), String> {
        self.note(format!("{} (life {}) is killed", life.name, life.number));
        self.world.tally.lock().unwrap().killed += 1;
        let told = life.kill();
        self.world.herd.forget(life);
        sound(life, &told)
    }

    fn freeze(&mut self, life: &Life) {
        self.note(format!("{} (life {}) is frozen", life.name, life.number));
        self.world.tally.lock().unwrap().frozen += 1;
        life.freeze();
    }

    fn replace(&mut self, old: &Life) {
        let new = self.world.herd.launch(old.name);
        self.note(format!(
            "{} (life {}) takes its place",
            new.name, new.number
        ));
        self.world.tally.lock().unwrap().replaced += 1;
        self.world.load.attend(self.world, &new, &mut self.random);
    }

    fn restart(&mut self, server: usize, ports: Ports) {
        let life = self.world.herd.relaunch(NAMES[server], ports);
        self.note(format!("{} (life {}) has started", life.name, life.number));
        self.world.load.attend(self.world, &life, &mut self.random);
        self.servers[server] = Some(Instant::now());
    }

    fn leave(&mut self, server: usize, old: &Life) -> Result<(), String> {
        self.servers[server] = Some(Instant::now());
        if self.random.chance(500) {
            return self.kill(old);
        }
        self.terminate(old).map(drop)
    }

    /// Tells a server to stop that has a neighbour which must get its reports.
    fn stop(&mut self, fault: Fault) -> Result<bool, String> {
        let mut targets = self.targets(fault).into_iter();
        let Some((server, heirs)) = targets.find_map(|server| {
            let heirs = self.heirs(server);
            (!heirs.is_empty()).then_some((server, heirs))
        }) else {
            return Ok(false);
        };
        let life = self.current(server);
        // So that there is always something which nobody else has yet.
        self.world.load.rush(self.world, &life, &mut self.random);
        self.wait_until(Instant::now() + RUSH)?;
        let told = self.terminate(&life)?;
        if told.contains("reached no neighbour") {
            return Err(format!(
                "{} lost reports, beside a neighbour:\n{told}",
                life.name
            ));
        }
        for heir in heirs {
            self.inherit(&life, &heir)?;
        }
        self.restart(server, life.ports);
        Ok(true)
    }

    /// The neighbours of a server that have been whole for long, and so have the
    /// ways to them.
    fn heirs(&self, server: usize) -> Vec<Arc<Life>> {
        let calm = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= CALM);
        if !calm(self.servers[server]) {
            return Vec::new();
        }
        let ways = self.world.herd.ways().iter().zip(&self.ways);
        let whole = ways.filter(|(way, since)| way.from == NAMES[server] && calm(**since));
        let heirs = whole.map(|(way, _)| place_of(way.to));
        let heirs = heirs.filter(|&heir| calm(self.servers[heir]));
        heirs.map(|heir| self.current(heir)).collect()
    }

    /// What a server that has stopped had answered, a neighbour knows.
    fn inherit(&self, dead: &Life, heir: &Life) -> Result<(), String> {
        let reports = dead.all_known();
        reports.iter().for_each(|report| heir.learn(report));
        let asks = reports
            .iter()
            .map(|report| Ask::Whatsat(report.client.clone()));
        self.world.tally.lock().unwrap().drained += reports.len();
        let said = talk::say_all(self.world, heir, asks.collect());
        said.map(drop)
            .map_err(|words| format!("after {} had stopped: {words}", dead.name))
    }

    /// Tells a life to stop, and gives what it told.
    fn terminate(&mut self, life: &Life) -> Result<String, String> {
        self.note(format!(
            "{} (life {}) is told to stop",
            life.name, life.number
        ));
        self.world.tally.lock().unwrap().stopped += 1;
        let ended = life.stop();
        self.world.herd.forget(life);
        sound(life, &ended.stderr)?;
        match ended.status.code() {
            Some(0) => Ok(ended.stderr),
            _ => Err(format!("{} did not stop well: {ended:?}", life.name)),
        }
    }

    fn break_ways(&mut self, fault: Fault, mode: Mode) -> bool {
        let all = self.ways.len();
        let mut places = (0..all).map(|n| (n + fault.place) % all);
        let Some(place) = places.find(|&place| self.ways[place].is_some()) else {
            return false;
        };
        // A link's two ways stand side by side.
        let ways = match fault.both_ways && self.ways[place ^ 1].is_some() {
            true => vec![place, place ^ 1],
            false => vec![place],
        };
        for &way in &ways {
            self.set(way, mode);
            self.ways[way] = None;
        }
        self.world.tally.lock().unwrap().broken_ways += ways.len();
        self.due
            .push((Instant::now() + fault.lasts, Act::Mend(ways)));
        true
    }

    fn mend(&mut self, ways: &[usize]) {
        for &way in ways {
            self.set(way, Mode::Pass);
            self.ways[way] = Some(Instant::now());
        }
    }

    fn set(&mut self, way: usize, mode: Mode) {
        let way = &self.world.herd.ways()[way];
        self.note(format!("from {} to {}: {mode:?}", way.from, way.to));
        way.set(mode);
    }

    fn current(&self, server: usize) -> Arc<Life> {
        let current = self.world.herd.current(NAMES[server]);
        current.expect("a whole server runs")
    }

    fn note(&mut self, words: String) {
        let at = self.start.elapsed().as_secs_f64();
        self.trace.push(format!("{at:7.3} {words}"));
    }
}

fn place_of(name: &str) -> usize {
    let place = NAMES.iter().position(|&other| other == name);
    place.expect("ways lead to servers")
}

/// Has a server told of nothing that must never happen?
fn sound(life: &Life, told: &str) -> Result<(), String> {
    match told.contains("panic") {
        true => Err(format!("{} panicked:\n{told}", life.name)),
        false => Ok(()),
    }
}
