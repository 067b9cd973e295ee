//! Processes that are killed under load, or lose their power, at each level of acknowledgement: no
//! answered report is lost beyond what its level permits.
//!
//! Clients report to every server, and each notes the newest time that was answered. A seed
//! determines the victims and the moment of their death. `PROXYHERD_SEED` and `PROXYHERD_SEEDS`
//! are those of [`processes`](crate::processes).

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::common::{CLASSIC, Client, PortTaken, Process, Random, Site, eventually};
use crate::power_cut::PowerCut;
use crate::processes::variable;

/// The default number of seeds for each level.
const SEEDS: u64 = 2;

/// Number of clients that report over each connection.
const CLIENTS: usize = 20;

/// Number of lines that are sent before their answers are read.
const PIPELINE: usize = 16;

/// The load on one server: a connection on which several clients report in turn.
struct Load {
    server: &'static str,
    /// The newest time of each client that was answered; 0 for none.
    answered: Arc<Mutex<[u64; CLIENTS]>>,
    thread: Option<JoinHandle<()>>,
}

/// The newest time of each client that was answered.
type Answers = BTreeMap<String, u64>;

/// A herd of processes under load.
struct Run {
    site: Site,
    /// By which its power can be cut.
    power: Option<Arc<PowerCut>>,
    processes: Vec<Option<Process>>,
    loads: Vec<Load>,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    /// What earlier loads were answered.
    answered: Answers,
    random: Random,
}

fn client_id(server: &str, client: usize) -> String {
    format!("{server}-{client}")
}

fn report(connection: &mut Client, server: &str, round: u64, load: &Mutex<[u64; CLIENTS]>) -> bool {
    let times = (round * PIPELINE as u64..).take(PIPELINE);
    let lines = times.clone().map(|time| {
        let client = client_id(server, time as usize % CLIENTS);
        format!("IAMAT {client} +1+1 {}\n", time + 1)
    });
    if connection.try_send(lines.collect::<String>()).is_err() {
        return false;
    }
    for time in times {
        let expected = format!("+1+1 {}\n", time + 1);
        match connection.try_line() {
            Ok(line) if line.ends_with(expected.as_bytes()) => {
                load.lock().unwrap()[time as usize % CLIENTS] = time + 1;
            }
            Ok(line) if line.ends_with(b"\n") => panic!("{}", String::from_utf8_lossy(&line)),
            // The server was killed.
            _ => return false,
        }
    }
    true
}

impl Load {
    /// Adds the newest time of each client that was answered until now.
    fn note_answered(&self, answered: &mut Answers) {
        let times = *self.answered.lock().unwrap();
        for (client, time) in (0..).zip(times).filter(|(_, time)| *time > 0) {
            answered.insert(client_id(self.server, client), time);
        }
    }
}

/// Starts a server of a site, whose power can be cut.
fn serve(site: &Site, power: Option<&PowerCut>, server: &str) -> Result<Process, PortTaken> {
    let mut command = site.command(&["serve", server]);
    if let Some(power) = power {
        power.watch(&mut command, &site.path(""));
    }
    Process::spawn(&mut command).serving()
}

impl Run {
    fn start(level: &str, power: Option<Arc<PowerCut>>, seed: u64) -> Self {
        println!("level {level}, seed {seed}");
        let settings = format!(
            "[clients]\nacknowledge = {level:?}\n[storage]\ndir = \"state\"\nsync = \"20ms\"\n\
             [log]\nlevel = \"info\"\n"
        );
        let make = || {
            let site = Site::new(CLASSIC, &settings);
            if power.is_some() {
                PowerCut::prepare(&site.path(""));
            }
            site
        };
        let start = |site: &Site| -> Result<Vec<_>, PortTaken> {
            let servers = CLASSIC.0.iter();
            let started = servers.map(|server| serve(site, power.as_deref(), server).map(Some));
            started.collect()
        };
        let (site, processes) = Site::start(make, start);
        Self {
            site,
            power,
            processes,
            loads: Vec::new(),
            stop: Arc::default(),
            answers: Arc::default(),
            answered: Answers::new(),
            random: Random::new(seed),
        }
    }

    /// Lets clients report to all servers, with later times than those that were answered.
    fn load(&mut self) {
        self.stop = Arc::default();
        let last = self.answered.values().max().copied().unwrap_or(0);
        let first = last.div_ceil(PIPELINE as u64);
        for server in CLASSIC.0 {
            let mut connection = self.site.client(server);
            let answered = Arc::new(Mutex::new([0; CLIENTS]));
            let (load, stop, answers) = (answered.clone(), self.stop.clone(), self.answers.clone());
            let thread = thread::spawn(move || {
                let mut rounds = first..;
                while !stop.load(Relaxed)
                    && rounds
                        .next()
                        .is_some_and(|round| report(&mut connection, server, round, &load))
                {
                    answers.fetch_add(PIPELINE as u64, Relaxed);
                }
            });
            self.loads.push(Load {
                server,
                answered,
                thread: Some(thread),
            });
        }
    }

    /// Waits for some more answers, at least `least`, and a moment. The seed determines both.
    fn await_moment(&mut self, least: u64) {
        let before = self.answers.load(Relaxed);
        let wanted = before + self.random.between(least, least + 4000);
        eventually("answers under load", || {
            (self.answers.load(Relaxed) > wanted).then_some(())
        });
        thread::sleep(Duration::from_micros(self.random.between(0, 30_000)));
    }

    /// Returns the newest time of each client that was answered until now.
    fn answered(&self) -> Answers {
        let mut answered = self.answered.clone();
        let loads = self.loads.iter();
        loads.for_each(|load| load.note_answered(&mut answered));
        answered
    }

    fn kill(&mut self, server: usize) {
        self.processes[server].take().expect("it runs").kill();
    }

    fn kill_all(&mut self) {
        (0..CLASSIC.0.len()).for_each(|server| self.kill(server));
    }

    fn restart(&mut self, server: usize) {
        let process = serve(&self.site, self.power.as_deref(), CLASSIC.0[server]);
        self.processes[server] = Some(process.ok().expect("its ports are free again"));
    }

    fn restart_all(&mut self) {
        (0..CLASSIC.0.len()).for_each(|server| self.restart(server));
    }

    /// Returns the last sequence number of each server, and through which it says that all is on
    /// its disk.
    fn sequences(&self) -> Vec<(u64, u64)> {
        let status = Process::run(&mut self.site.command(&["status", "--json"])).stdout;
        let json: Value = serde_json::from_str(&status).unwrap();
        let servers = json["servers"].as_array().unwrap();
        let number = |value: &Value| value.as_u64().expect("a number");
        let of = |server: &Value| {
            let status = &server["status"];
            let durable = &status["storage"]["durable_sequence"];
            (number(&status["last_sequence"]), number(durable))
        };
        servers.iter().map(of).collect()
    }

    /// Returns what was answered until now, after all servers have it on their disks.
    fn await_disks(&self) -> Answers {
        let answered = self.answered();
        let wanted = self.sequences();
        eventually("all of that is on the disks", || {
            let now = self.sequences();
            let mut both = wanted.iter().zip(&now);
            both.all(|((last, _), (_, durable))| durable >= last)
                .then_some(())
        });
        answered
    }

    /// Ends the load. What it was answered is in `answered` from then on.
    fn end_load(&mut self) {
        self.stop.store(true, Relaxed);
        for mut load in self.loads.drain(..) {
            load.thread.take().expect("it runs").join().unwrap();
            load.note_answered(&mut self.answered);
        }
        assert!(!self.answered.is_empty());
    }

    /// Checks that all servers have these reports, or newer ones.
    fn check(&self, answered: &Answers) {
        for server in CLASSIC.0 {
            for (client, time) in answered {
                eventually(&format!("{server} has {client} at {time} or later"), || {
                    let report = self.site.report(server, client)?;
                    let held: u64 = report.rsplit(' ').next()?.parse().ok()?;
                    (held >= *time).then_some(())
                });
            }
        }
    }
}

fn seeds() -> Box<dyn Iterator<Item = u64>> {
    match variable("PROXYHERD_SEED") {
        Some(seed) => Box::new([seed].into_iter()),
        None => Box::new(0..variable("PROXYHERD_SEEDS").unwrap_or(SEEDS)),
    }
}

#[test]
fn what_the_disk_acknowledged_survives_the_kill_of_all_processes() {
    for seed in seeds() {
        let mut run = Run::start("disk", None, seed);
        run.load();
        run.await_moment(2000);
        run.kill_all();
        run.restart_all();
        run.end_load();
        run.check(&run.answered);
    }
}

#[test]
fn what_a_neighbour_acknowledged_survives_the_loss_of_a_machine() {
    for seed in seeds() {
        let mut run = Run::start("neighbour", None, seed);
        run.load();
        run.await_moment(2000);
        let victim = run.random.below(CLASSIC.0.len());
        run.kill(victim);
        fs::remove_dir_all(run.site.path("state").join(CLASSIC.0[victim])).unwrap();
        run.restart(victim);
        run.end_load();
        run.check(&run.answered);
    }
}

#[test]
fn what_was_received_survives_the_kill_of_all_processes_once_it_is_on_the_disk() {
    for seed in seeds() {
        let mut run = Run::start("received", None, seed);
        run.load();
        run.await_moment(2000);
        let promised = run.await_disks();
        run.await_moment(0);
        run.kill_all();
        run.restart_all();
        run.end_load();
        run.check(&promised);
    }
}

/// Cuts the power of all servers twice: the second time soon after the start, while each begins a
/// new file.
#[test]
fn what_the_disk_acknowledged_survives_power_cuts_of_all_machines() {
    let Some(power) = PowerCut::compile().map(Arc::new) else {
        return;
    };
    for seed in seeds() {
        let mut run = Run::start("disk", Some(power.clone()), seed);
        for least in [2000, 0] {
            run.load();
            run.await_moment(least);
            run.kill_all();
            PowerCut::cut(&run.site.path(""));
            run.end_load();
            run.restart_all();
            run.check(&run.answered);
        }
    }
}

#[test]
fn what_was_received_survives_a_power_cut_of_all_machines_once_it_is_on_the_disk() {
    let Some(power) = PowerCut::compile().map(Arc::new) else {
        return;
    };
    for seed in seeds() {
        let mut run = Run::start("received", Some(power.clone()), seed);
        run.load();
        run.await_moment(2000);
        let promised = run.await_disks();
        run.await_moment(0);
        run.kill_all();
        PowerCut::cut(&run.site.path(""));
        run.end_load();
        run.restart_all();
        run.check(&promised);
    }
}
