//! Processes that are killed under load, at each level of acknowledgement: no answered report is
//! lost beyond what its level permits.
//!
//! Clients report to every server, and each notes the newest time that was answered. A seed
//! determines the victims and the moment of their death. `PROXYHERD_SEED` and `PROXYHERD_SEEDS`
//! are those of [`processes`](crate::processes).

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::common::{CLASSIC, Client, Process, Random, Site, eventually};
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
    thread: JoinHandle<()>,
}

/// A herd of processes under load.
struct Run {
    site: Site,
    processes: Vec<Option<Process>>,
    loads: Vec<Load>,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
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

impl Run {
    fn start(level: &str, seed: u64) -> Self {
        println!("level {level}, seed {seed}");
        let settings = format!(
            "[clients]\nacknowledge = {level:?}\n[storage]\ndir = \"state\"\nsync = \"20ms\"\n\
             [log]\nlevel = \"info\"\n"
        );
        let (site, processes) = Site::serve_each(CLASSIC, &settings);
        Self {
            site,
            processes: processes.into_iter().map(Some).collect(),
            loads: Vec::new(),
            stop: Arc::default(),
            answers: Arc::default(),
            random: Random::new(seed),
        }
    }

    /// Lets clients report to all servers.
    fn load(&mut self) {
        for server in CLASSIC.0 {
            let mut connection = self.site.client(server);
            let answered = Arc::new(Mutex::new([0; CLIENTS]));
            let (load, stop, answers) = (answered.clone(), self.stop.clone(), self.answers.clone());
            let thread = thread::spawn(move || {
                let mut rounds = 0..;
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
                thread,
            });
        }
    }

    /// Waits for some answers, the number of which the seed determines, and a moment.
    fn await_moment(&mut self) {
        let wanted = self.random.between(2000, 6000);
        eventually("answers under load", || {
            (self.answers.load(Relaxed) > wanted).then_some(())
        });
        thread::sleep(Duration::from_micros(self.random.between(0, 30_000)));
    }

    fn kill(&mut self, server: usize) {
        self.processes[server].take().expect("it runs").kill();
    }

    fn restart(&mut self, server: usize) {
        let process = self.site.run(&["serve", CLASSIC.0[server]]);
        self.processes[server] = Some(process.ok().expect("its ports are free again"));
    }

    /// Ends the load, and checks that these servers have everything that was answered.
    fn check(mut self, servers: &[&str]) {
        self.stop.store(true, Relaxed);
        let mut answered = Vec::new();
        for Load {
            server,
            answered: load,
            thread,
        } in self.loads.drain(..)
        {
            thread.join().unwrap();
            let times = *load.lock().unwrap();
            answered.extend((0..CLIENTS).map(|n| (client_id(server, n), times[n])));
        }
        assert!(answered.iter().any(|(_, time)| *time > 0));
        for server in servers {
            for (client, time) in answered.iter().filter(|(_, time)| *time > 0) {
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
        let mut run = Run::start("disk", seed);
        run.load();
        run.await_moment();
        let servers = 0..CLASSIC.0.len();
        servers.clone().for_each(|server| run.kill(server));
        servers.for_each(|server| run.restart(server));
        run.check(CLASSIC.0);
    }
}

#[test]
fn what_a_neighbour_acknowledged_survives_the_loss_of_a_machine() {
    for seed in seeds() {
        let mut run = Run::start("neighbour", seed);
        run.load();
        run.await_moment();
        let victim = run.random.below(CLASSIC.0.len());
        run.kill(victim);
        fs::remove_dir_all(run.site.path("state").join(CLASSIC.0[victim])).unwrap();
        run.restart(victim);
        run.check(CLASSIC.0);
    }
}
