//! The steady load: clients at every server, and some that move between them.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::life::Life;
use super::talk::{End, Talk};
use super::world::World;
use crate::common::Random;

/// Connections that stay with one life of a server for as long as it lasts.
const STAYING: u64 = 3;

/// Clients that go from server to server.
const MOVING: u64 = 4;

/// How many breaths a moving client stays for.
const STAY: usize = 20;

/// Clients that rush to a server which is about to stop.
const RUSHING: u64 = 6;

/// How many of their reports come in one breath.
const RUSH: usize = 50;

/// Longest pause between two breaths, in milliseconds.
const PAUSE: u64 = 15;

#[derive(Default)]
pub(crate) struct Load(Mutex<Vec<JoinHandle<()>>>);

impl Load {
    /// Starts the clients of a life of a server.
    pub(crate) fn attend(&self, world: &Arc<World>, life: &Arc<Life>, random: &mut Random) {
        for _ in 0..STAYING {
            let life = life.clone();
            self.spawn(world, random, move |world, random| {
                talk_on(world, &life, random, usize::MAX)
            });
        }
    }

    /// Starts the clients that move.
    pub(crate) fn roam(&self, world: &Arc<World>, random: &mut Random) {
        for _ in 0..MOVING {
            self.spawn(world, random, |world, random| {
                while !world.is_resting() {
                    let lives = world.herd.lives();
                    let life = &lives[random.below(lives.len())];
                    match talk_on(world, life, random, STAY) {
                        Err(End::Broken(words)) => return Err(End::Broken(words)),
                        Ok(()) | Err(End::Over) => {}
                    }
                }
                Ok(())
            });
        }
    }

    /// Starts clients that report as fast as they are answered, for as long as
    /// a life of a server lasts.
    pub(crate) fn rush(&self, world: &Arc<World>, life: &Arc<Life>, random: &mut Random) {
        for _ in 0..RUSHING {
            let life = life.clone();
            self.spawn(world, random, move |world, random| {
                let mut talk = Talk::begin(world, &life)?;
                while !world.is_resting() {
                    let newcomers = (0..RUSH).map(|_| world.crowd.newcomer(random));
                    talk.say(newcomers.collect())?;
                }
                Ok(())
            });
        }
    }

    /// Waits until all clients have heard the answers to what they said last.
    /// Gives whether they ended as they should.
    pub(crate) fn end(&self) -> bool {
        let clients = std::mem::take(&mut *self.0.lock().unwrap());
        let ends: Vec<_> = clients.into_iter().map(JoinHandle::join).collect();
        ends.iter().all(Result::is_ok)
    }

    fn spawn(
        &self,
        world: &Arc<World>,
        random: &mut Random,
        live: impl FnOnce(&World, &mut Random) -> Result<(), End> + Send + 'static,
    ) {
        let (world, mut random) = (world.clone(), Random::new(random.number()));
        let client = thread::spawn(move || {
            if let Err(End::Broken(words)) = live(&world, &mut random) {
                world.fail(words);
            }
        });
        self.0.lock().unwrap().push(client);
    }
}

fn talk_on(world: &World, life: &Life, random: &mut Random, breaths: usize) -> Result<(), End> {
    let mut talk = Talk::begin(world, life)?;
    for _ in 0..breaths {
        if world.is_resting() {
            break;
        }
        talk.say(world.crowd.lines(random))?;
        thread::sleep(Duration::from_millis(random.between(1, PAUSE)));
    }
    Ok(())
}
