//! The load of a run: clients at every server, and clients that move between servers.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::server_process::ServerProcess;
use super::session::{Session, SessionEnd};
use super::world::World;
use crate::common::Random;

/// The number of connections to each process that last until it ends.
const FIXED_CLIENTS: u64 = 3;

/// The number of clients that move from server to server.
const MOVING_CLIENTS: u64 = 4;

/// The number of batches that a moving client sends to each server.
const BATCHES_PER_SERVER: usize = 20;

/// The number of clients that send a burst to a server before its stop.
const BURST_CLIENTS: u64 = 6;

/// The number of reports in a batch of a burst.
const BURST_BATCH: usize = 50;

/// The longest interval between two batches.
const MAX_BATCH_INTERVAL_MILLIS: u64 = 15;

#[derive(Default)]
pub(crate) struct Load(Mutex<Vec<JoinHandle<()>>>);

impl Load {
    /// Starts the clients of a process.
    pub(crate) fn start_fixed(
        &self,
        world: &Arc<World>,
        process: &Arc<ServerProcess>,
        random: &mut Random,
    ) {
        for _ in 0..FIXED_CLIENTS {
            let process = process.clone();
            self.spawn(world, random, move |world, random| {
                run_session(world, &process, random, usize::MAX)
            });
        }
    }

    /// Starts the moving clients.
    pub(crate) fn start_moving(&self, world: &Arc<World>, random: &mut Random) {
        for _ in 0..MOVING_CLIENTS {
            self.spawn(world, random, |world, random| {
                while !world.is_load_over() {
                    let processes = world.herd.processes();
                    let process = &processes[random.below(processes.len())];
                    match run_session(world, process, random, BATCHES_PER_SERVER) {
                        Err(SessionEnd::Broken(error)) => return Err(SessionEnd::Broken(error)),
                        Ok(()) | Err(SessionEnd::Over) => {}
                    }
                }
                Ok(())
            });
        }
    }

    /// Starts clients that report as fast as they are answered, until the process ends.
    pub(crate) fn burst(
        &self,
        world: &Arc<World>,
        process: &Arc<ServerProcess>,
        random: &mut Random,
    ) {
        for _ in 0..BURST_CLIENTS {
            let process = process.clone();
            self.spawn(world, random, move |world, random| {
                let mut session = Session::begin(world, &process)?;
                while !world.is_load_over() {
                    let newcomers = (0..BURST_BATCH).map(|_| world.clients.newcomer(random));
                    session.send(newcomers.collect())?;
                }
                Ok(())
            });
        }
    }

    /// Waits until all clients have their last answers. Returns false if one panicked.
    pub(crate) fn end(&self) -> bool {
        let clients = std::mem::take(&mut *self.0.lock().unwrap());
        let ends: Vec<_> = clients.into_iter().map(JoinHandle::join).collect();
        ends.iter().all(Result::is_ok)
    }

    fn spawn(
        &self,
        world: &Arc<World>,
        random: &mut Random,
        run: impl FnOnce(&World, &mut Random) -> Result<(), SessionEnd> + Send + 'static,
    ) {
        let (world, mut random) = (world.clone(), Random::new(random.number()));
        let client = thread::spawn(move || {
            if let Err(SessionEnd::Broken(error)) = run(&world, &mut random) {
                world.fail(error);
            }
        });
        self.0.lock().unwrap().push(client);
    }
}

fn run_session(
    world: &World,
    process: &ServerProcess,
    random: &mut Random,
    batches: usize,
) -> Result<(), SessionEnd> {
    let mut session = Session::begin(world, process)?;
    for _ in 0..batches {
        if world.is_load_over() {
            break;
        }
        session.send(world.clients.lines(random))?;
        thread::sleep(Duration::from_millis(
            random.between(1, MAX_BATCH_INTERVAL_MILLIS),
        ));
    }
    Ok(())
}
