//! The end of a run: a herd in which all is well agrees, and falls silent.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::crowd::Ask;
use crate::report::Report;
use crate::talk::{End, Talk};
use crate::world::World;

/// How many questions are asked in one breath.
pub(crate) const BREATH: usize = 100;

/// How long a herd may take to agree once all is well. It should be two seconds
/// or so; this is for a machine that is busy with other things.
const AGREEMENT: Duration = Duration::from_secs(10);

/// How long it may go on sending reports after that.
const SILENCE: Duration = Duration::from_secs(10);

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
        // What was agreed may be overturned while others are asked for.
        if clients.is_empty() && still_agree(world).is_ok() {
            return Ok(());
        }
        let views = views(world, &clients)?;
        clients = disagreed(&clients, &views);
        if start.elapsed() > AGREEMENT {
            return Err(quarrel(world, &clients));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// All servers answer the same for every client, at the first time of asking.
pub(crate) fn still_agree(world: &World) -> Result<(), String> {
    let clients = world.crowd.names();
    let views = views(world, &clients)?;
    match disagreed(&clients, &views) {
        clients if clients.is_empty() => Ok(()),
        clients => Err(quarrel(world, &clients)),
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

fn views(world: &World, clients: &[String]) -> Result<Vec<View>, String> {
    let lives = world.herd.lives();
    let mut views = Vec::new();
    for life in &lives {
        let view = || -> Result<View, End> {
            let mut talk = Talk::begin(world, life)?;
            let mut view = Vec::new();
            for clients in clients.chunks(BREATH) {
                let asks = clients.iter().map(|client| Ask::Whatsat(client.clone()));
                view.extend(talk.say(asks.collect())?);
            }
            Ok(view)
        };
        views.push(view().map_err(|end| match end {
            End::Over => format!("{} has ended", life.name),
            End::Broken(words) => words,
        })?);
    }
    Ok(views)
}

/// The clients that not all views agree about.
fn disagreed(clients: &[String], views: &[View]) -> Vec<String> {
    let differ = |place: usize| views.iter().any(|view| view[place] != views[0][place]);
    let places = (0..clients.len()).filter(|&place| differ(place));
    places.map(|place| clients[place].clone()).collect()
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
