//! Carries out a plan: injects its faults, heals the herd, and checks its promises.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clients::ClientRequest;
use super::coverage::Coverage;
use super::final_checks;
use super::herd::{FILE_LIMIT, NAMES};
use super::plan::{Fault, Kind, Plan};
use super::server_process::{Ports, ServerProcess};
use super::session;
use super::world::World;
use crate::common::{Mode, Random, loopback};

/// The time without a fault of two neighbours and of the connection between them after which
/// the link must carry reports: longer than a link takes to detect that it is down, and to
/// come up again.
const RECOVERY_TIME: Duration = Duration::from_secs(4);

/// The maximum number of servers with a fault at a time.
const MAX_FAULTY: usize = 2;

/// The delay of a fault for which there is no target.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The time of a burst of reports before a server is stopped.
const BURST_TIME: Duration = Duration::from_millis(50);

/// The beginning of an HTTP/2 connection.
const HALF_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// The number of clients that report before the first fault.
const FIRST_CLIENTS: usize = 100;

pub(crate) struct Driver<'a> {
    world: &'a Arc<World>,
    random: Random,
    plan: Plan,
    start: Instant,
    /// Future actions with their times.
    due: Vec<(Instant, Action)>,
    /// The end of the last fault of each server, `None` during a fault. In the order of names.
    servers: Vec<Option<Instant>>,
    /// The same for each direction of a link.
    routes: Vec<Option<Instant>>,
    trace: Vec<String>,
}

enum Action {
    Begin(Fault),
    /// Restarts a server on its ports.
    Restart(usize, Ports),
    Thaw(usize, Arc<ServerProcess>),
    /// Continues a process beside its replacement.
    Wake(usize, Arc<ServerProcess>),
    /// Ends such a process.
    Leave(usize, Arc<ServerProcess>),
    /// Closes the connections of strangers.
    Disperse(usize, Arc<ServerProcess>, Vec<TcpStream>),
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
            servers: vec![Some(start - RECOVERY_TIME); NAMES.len()],
            routes: vec![Some(start - RECOVERY_TIME); world.herd.routes().len()],
            trace: Vec::new(),
        }
    }

    /// Returns the events of the run with their times.
    pub(crate) fn trace(&self) -> String {
        self.trace.join("\n")
    }

    /// Returns the coverage so far.
    pub(crate) fn coverage(&self) -> Coverage {
        self.world.coverage.lock().unwrap().clone()
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.first_reports()?;
        self.begin_load();
        self.start = Instant::now();
        let faults = self.plan.faults.iter();
        self.due = faults
            .map(|&fault| (self.start + fault.at, Action::Begin(fault)))
            .collect();
        while let Some((when, action)) = self.next(self.start + self.plan.heals) {
            self.wait_until(when)?;
            self.perform(action)?;
        }
        self.wait_until(self.start + self.plan.heals)?;
        self.heal()?;
        let healed = Instant::now();
        self.note("all faults are healed".to_owned());
        self.world.end_load()?;
        self.end(healed)
    }

    /// Reports some clients, and waits until every server has them.
    fn first_reports(&mut self) -> Result<(), String> {
        for process in self.world.herd.processes() {
            let (clients, random) = (&self.world.clients, &mut self.random);
            let newcomers = (0..FIRST_CLIENTS / NAMES.len()).map(|_| clients.newcomer(random));
            let newcomers = newcomers.collect();
            session::send_all(self.world, &process, newcomers)?;
        }
        final_checks::agree(self.world)
    }

    fn begin_load(&mut self) {
        let load = &self.world.load;
        for process in self.world.herd.processes() {
            load.start_fixed(self.world, &process, &mut self.random);
        }
        load.start_moving(self.world, &mut self.random);
    }

    fn end(&mut self, healed: Instant) -> Result<(), String> {
        final_checks::agree(self.world)?;
        let agreed = healed.elapsed();
        final_checks::await_idle(self.world)?;
        let idle = healed.elapsed();
        self.note(format!(
            "the servers agreed after {agreed:.1?}, and were idle after {idle:.1?}"
        ));
        final_checks::still_agree(self.world)?;
        let memory = final_checks::memory_is_bounded(self.world)? >> 20;
        self.note(format!("the servers use at most {memory} MiB"));
        self.world
            .herd
            .processes()
            .iter()
            .try_for_each(|process| check_stderr(process, &process.stderr()))
    }

    /// Removes and returns the next action before `end`.
    fn next(&mut self, end: Instant) -> Option<(Instant, Action)> {
        let due = self.due.iter().enumerate();
        let (index, &(when, _)) = due.min_by_key(|(_, (when, _))| *when)?;
        (when < end).then(|| self.due.swap_remove(index))
    }

    fn wait_until(&self, when: Instant) -> Result<(), String> {
        while Instant::now() < when {
            self.world.check()?;
            std::thread::sleep(Duration::from_millis(2));
        }
        self.world.check()
    }

    /// Ends all current faults, and removes future ones.
    fn heal(&mut self) -> Result<(), String> {
        self.due
            .retain(|(_, action)| !matches!(action, Action::Begin(_)));
        while let Some((_, action)) = self.due.pop() {
            self.perform(action)?;
        }
        Ok(())
    }

    fn perform(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Begin(fault) => self.begin(fault)?,
            Action::Restart(server, ports) => self.restart(server, ports),
            Action::Thaw(server, process) => {
                self.note(format!("{} continues", process.name));
                process.thaw();
                self.servers[server] = Some(Instant::now());
            }
            Action::Wake(server, old) => {
                self.note(format!("the old {} continues beside the new one", old.name));
                old.thaw();
                let beside = Duration::from_millis(self.random.between(300, 1500));
                self.due
                    .push((Instant::now() + beside, Action::Leave(server, old)));
            }
            Action::Leave(server, old) => self.leave(server, &old)?,
            Action::Disperse(server, process, strangers) => {
                self.note(format!("the strangers leave {}", process.name));
                process.set_crowded(false);
                drop(strangers);
                self.servers[server] = Some(Instant::now());
            }
            Action::Mend(routes) => self.mend(&routes),
        }
        Ok(())
    }

    fn begin(&mut self, fault: Fault) -> Result<(), String> {
        let begun = match fault.kind {
            Kind::Break(mode) => self.break_routes(fault, mode),
            Kind::Stop => self.stop(fault)?,
            _ => self.disturb(fault)?,
        };
        if !begun {
            self.due
                .push((Instant::now() + RETRY_DELAY, Action::Begin(fault)));
        }
        Ok(())
    }

    /// Returns the servers that a fault may affect, the preferred one first.
    fn targets(&self, fault: Fault) -> Vec<usize> {
        let whole = |server: &usize| self.servers[*server].is_some();
        let all = (0..NAMES.len()).map(|n| (n + fault.target) % NAMES.len());
        match self.servers.iter().filter(|since| since.is_none()).count() {
            MAX_FAULTY.. => Vec::new(),
            _ => all.filter(whole).collect(),
        }
    }

    fn disturb(&mut self, fault: Fault) -> Result<bool, String> {
        let Some(&server) = self.targets(fault).first() else {
            return Ok(false);
        };
        let process = self.current(server);
        self.servers[server] = None;
        let later = Instant::now() + fault.lasts;
        match fault.kind {
            Kind::KillAndRestart => {
                self.kill(&process)?;
                self.restart(server, process.ports);
            }
            Kind::Kill => {
                self.kill(&process)?;
                self.due
                    .push((later, Action::Restart(server, process.ports)));
            }
            Kind::Freeze => {
                self.freeze(&process);
                self.due.push((later, Action::Thaw(server, process)));
            }
            Kind::Crowd => {
                let strangers = self.crowd(&process);
                self.due
                    .push((later, Action::Disperse(server, process, strangers)));
            }
            _ => {
                self.freeze(&process);
                self.replace(&process);
                self.due.push((later, Action::Wake(server, process)));
            }
        }
        Ok(true)
    }

    fn kill(&mut self, process: &ServerProcess) -> Result<(), String> {
        self.note(format!(
            "{} (process {}) is killed",
            process.name, process.number
        ));
        self.world.coverage.lock().unwrap().killed += 1;
        let stderr = process.kill();
        self.world.herd.forget(process);
        check_stderr(process, &stderr)
    }

    fn freeze(&mut self, process: &ServerProcess) {
        self.note(format!(
            "{} (process {}) is frozen",
            process.name, process.number
        ));
        self.world.coverage.lock().unwrap().frozen += 1;
        process.freeze();
    }

    /// Connects strangers to the peer port of a server.
    fn crowd(&mut self, process: &ServerProcess) -> Vec<TcpStream> {
        self.note(format!(
            "strangers connect to {} (process {})",
            process.name, process.number
        ));
        self.world.coverage.lock().unwrap().crowds += 1;
        let address = loopback(process.ports.peers);
        let connect = |n| {
            let mut stranger = TcpStream::connect(address).unwrap();
            if n % 2 == 0 {
                // Fails if the server has closed it.
                let _ = stranger.write_all(HALF_PREFACE);
            }
            stranger
        };
        let strangers = (0..2 * FILE_LIMIT).map(connect).collect();
        process.set_crowded(true);
        strangers
    }

    fn replace(&mut self, old: &ServerProcess) {
        let new = self.world.herd.launch(old.name);
        self.note(format!("{} (process {}) replaces it", new.name, new.number));
        self.world.coverage.lock().unwrap().replaced += 1;
        self.world
            .load
            .start_fixed(self.world, &new, &mut self.random);
    }

    fn restart(&mut self, server: usize, ports: Ports) {
        let process = self.world.herd.relaunch(NAMES[server], ports);
        self.note(format!(
            "{} (process {}) has started",
            process.name, process.number
        ));
        self.world
            .load
            .start_fixed(self.world, &process, &mut self.random);
        self.servers[server] = Some(Instant::now());
    }

    fn leave(&mut self, server: usize, old: &ServerProcess) -> Result<(), String> {
        self.servers[server] = Some(Instant::now());
        if self.random.chance(500) {
            return self.kill(old);
        }
        self.terminate(old).map(drop)
    }

    /// Stops a server with a neighbour that must receive its reports.
    fn stop(&mut self, fault: Fault) -> Result<bool, String> {
        let mut targets = self.targets(fault).into_iter();
        let Some((server, recovered_neighbours)) = targets.find_map(|server| {
            let recovered_neighbours = self.recovered_neighbours(server);
            (!recovered_neighbours.is_empty()).then_some((server, recovered_neighbours))
        }) else {
            return Ok(false);
        };
        let process = self.current(server);
        // There are reports that no other server has yet.
        self.world
            .load
            .burst(self.world, &process, &mut self.random);
        self.wait_until(Instant::now() + BURST_TIME)?;
        let stderr = self.terminate(&process)?;
        if stderr.contains("may be lost") {
            return Err(format!(
                "{} lost reports beside a running neighbour:\n{stderr}",
                process.name
            ));
        }
        for neighbour in recovered_neighbours {
            self.check_inherited(&process, &neighbour)?;
        }
        self.restart(server, process.ports);
        Ok(true)
    }

    /// Returns the neighbours of a server that have had no fault for [`RECOVERY_TIME`], and
    /// whose connection has had none.
    fn recovered_neighbours(&self, server: usize) -> Vec<Arc<ServerProcess>> {
        let has_recovered =
            |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= RECOVERY_TIME);
        if !has_recovered(self.servers[server]) {
            return Vec::new();
        }
        let routes = self.world.herd.routes().iter().zip(&self.routes);
        let whole =
            routes.filter(|(route, since)| route.from == NAMES[server] && has_recovered(**since));
        let recovered_neighbours = whole.map(|(route, _)| index_of(route.to));
        let recovered_neighbours =
            recovered_neighbours.filter(|&neighbour| has_recovered(self.servers[neighbour]));
        recovered_neighbours
            .map(|neighbour| self.current(neighbour))
            .collect()
    }

    /// Checks that a neighbour has every report that a stopped server had answered.
    fn check_inherited(
        &self,
        dead: &ServerProcess,
        neighbour: &ServerProcess,
    ) -> Result<(), String> {
        let reports = dead.all_known();
        reports.iter().for_each(|report| neighbour.learn(report));
        let requests = reports
            .iter()
            .map(|report| ClientRequest::Whatsat(report.client.clone()));
        self.world.coverage.lock().unwrap().drained += reports.len();
        let answers = session::send_all(self.world, neighbour, requests.collect());
        answers
            .map(drop)
            .map_err(|error| format!("after the stop of {}: {error}", dead.name))
    }

    /// Stops a process, and returns its standard error.
    fn terminate(&mut self, process: &ServerProcess) -> Result<String, String> {
        self.note(format!(
            "{} (process {}) receives SIGTERM",
            process.name, process.number
        ));
        self.world.coverage.lock().unwrap().stopped += 1;
        let ended = process.stop();
        self.world.herd.forget(process);
        check_stderr(process, &ended.stderr)?;
        match ended.status.code() {
            Some(0) => Ok(ended.stderr),
            _ => Err(format!("{} did not exit with 0: {ended:?}", process.name)),
        }
    }

    fn break_routes(&mut self, fault: Fault, mode: Mode) -> bool {
        let all = self.routes.len();
        let mut candidates = (0..all).map(|n| (n + fault.target) % all);
        let Some(index) = candidates.find(|&index| self.routes[index].is_some()) else {
            return false;
        };
        // The two directions of a link are adjacent.
        let mut routes = vec![index];
        if fault.both_directions && self.routes[index ^ 1].is_some() {
            routes.push(index ^ 1);
        }
        for &route in &routes {
            self.set(route, mode);
            self.routes[route] = None;
        }
        self.world.coverage.lock().unwrap().broken_routes += routes.len();
        self.due
            .push((Instant::now() + fault.lasts, Action::Mend(routes)));
        true
    }

    fn mend(&mut self, routes: &[usize]) {
        for &route in routes {
            self.set(route, Mode::Pass);
            self.routes[route] = Some(Instant::now());
        }
    }

    fn set(&mut self, route: usize, mode: Mode) {
        let route = &self.world.herd.routes()[route];
        self.note(format!("from {} to {}: {mode:?}", route.from, route.to));
        route.set(mode);
    }

    fn current(&self, server: usize) -> Arc<ServerProcess> {
        let current = self.world.herd.current(NAMES[server]);
        current.expect("a server without a fault runs")
    }

    fn note(&mut self, event: String) {
        let at = self.start.elapsed().as_secs_f64();
        self.trace.push(format!("{at:7.3} {event}"));
    }
}

fn index_of(name: &str) -> usize {
    let index = NAMES.iter().position(|&other| other == name);
    index.expect("routes lead to servers")
}

/// Checks that a server has not panicked.
fn check_stderr(process: &ServerProcess, stderr: &str) -> Result<(), String> {
    if stderr.contains("panic") {
        return Err(format!("{} panicked:\n{stderr}", process.name));
    }
    Ok(())
}
