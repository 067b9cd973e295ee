//! The end of a run: a herd in which all is well agrees, and falls silent.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::crowd::Ask;
use super::life::Life;
use super::report::Report;
use super::talk;
use super::world::World;

/// How long a herd may take to agree once all is well. It should be two seconds
/// or so; this is for a machine that is busy with other things.
const AGREEMENT: Duration = Duration::from_secs(30);

/// How long it may go on sending reports after that.
const SILENCE: Duration = Duration::from_secs(30);

/// When nothing was written for so long, nobody has anything more to say. Longer
/// than the pause between two heartbeats.
const QUIET: Duration = Duration::from_millis(700);

/// What one server answers for each client.
type View = Vec<Option<Arc<Report>>>;

/// Waits until all servers answer the same for every client. That this is not
/// older than what any of them had answered, each answer is judged by itself.
pub(crate) fn agree(world: &World) -> Result<(), String> {
    let start = Instant::now();
    let mut clients = world.crowd.names();
    loop {
        clients = disagreed(world, &clients)?;
        if clients.is_empty() {
            // What was agreed may be overturned while others are asked for.
            clients = disagreed(world, &world.crowd.names())?;
        }
        if clients.is_empty() {
            return Ok(());
        }
        if start.elapsed() > AGREEMENT {
            return Err(quarrel(world, &clients));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// All servers answer the same for every client, at the first time of asking.
pub(crate) fn still_agree(world: &World) -> Result<(), String> {
    let clients = disagreed(world, &world.crowd.names())?;
    match clients.is_empty() {
        true => Ok(()),
        false => Err(quarrel(world, &clients)),
    }
}

/// Waits until no server writes anything down, as it does with every report that
/// it sends or hears.
pub(crate) fn fall_silent(world: &World) -> Result<(), String> {
    let start = Instant::now();
    let (mut logged, mut since) = (world.herd.logged(), Instant::now());
    while since.elapsed() < QUIET {
        if start.elapsed() > SILENCE {
            return Err(format!("reports are still sent after {SILENCE:?}"));
        }
        thread::sleep(Duration::from_millis(20));
        let now = world.herd.logged();
        if now != logged {
            (logged, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// The clients that not all servers answer the same for.
fn disagreed(world: &World, clients: &[String]) -> Result<Vec<String>, String> {
    let lives = world.herd.lives();
    let views = lives.iter().map(|life| view(world, life, clients));
    let views = views.collect::<Result<Vec<View>, String>>()?;
    let differ = |place: usize| views.iter().any(|view| view[place] != views[0][place]);
    let places = (0..clients.len()).filter(|&place| differ(place));
    Ok(places.map(|place| clients[place].clone()).collect())
}

fn view(world: &World, life: &Life, clients: &[String]) -> Result<View, String> {
    let asks = clients.iter().map(|client| Ask::Whatsat(client.clone()));
    talk::say_all(world, life, asks.collect())
}

/// Who says what of the first clients about which servers differ.
fn quarrel(world: &World, clients: &[String]) -> String {
    let mut words = format!("they do not agree on {} clients:", clients.len());
    for client in clients.iter().take(5) {
        for life in world.herd.lives() {
            let known = life.knows(client);
            let known = known.map_or("?".to_owned(), |report| report.to_string());
            words += &format!("\n  {} (life {}): {known}", life.name, life.number);
        }
    }
    words
}
