//! The checks at the end of a run: a healed herd agrees, and becomes idle.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::clients::ClientRequest;
use super::report::Report;
use super::server_process::ServerProcess;
use super::session;
use super::world::World;

/// The time limit of the agreement. About two seconds are usual.
const MAX_AGREEMENT_TIME: Duration = Duration::from_secs(30);

/// The time limit until the herd is idle.
const MAX_ACTIVE_TIME: Duration = Duration::from_secs(30);

/// The time without a log line after which the herd is idle. Longer than a heartbeat.
const IDLE_TIME: Duration = Duration::from_millis(700);

/// The limit of the resident memory of a server. 45 MiB are usual with a debug build.
const MAX_MEMORY_BYTES: u64 = 128 << 20;

/// The answers of one server for each client.
type View = Vec<Option<Arc<Report>>>;

/// Waits until all servers give the same answer for every client. The check of each answer
/// ensures that it is not older than earlier ones.
pub(crate) fn agree(world: &World) -> Result<(), String> {
    let start = Instant::now();
    let mut clients = world.clients.names();
    loop {
        clients = differing_clients(world, &clients)?;
        if clients.is_empty() {
            // Agreed reports may have been replaced during the queries of others.
            clients = differing_clients(world, &world.clients.names())?;
        }
        if clients.is_empty() {
            return Ok(());
        }
        if start.elapsed() > MAX_AGREEMENT_TIME {
            return Err(describe_differences(world, &clients));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Checks that all servers give the same answer for every client, without a wait.
pub(crate) fn still_agree(world: &World) -> Result<(), String> {
    let clients = differing_clients(world, &world.clients.names())?;
    if clients.is_empty() {
        return Ok(());
    }
    Err(describe_differences(world, &clients))
}

/// Waits until no server logs a line, as it does for every sent and received report.
pub(crate) fn await_idle(world: &World) -> Result<(), String> {
    let start = Instant::now();
    let (mut logged, mut since) = (world.herd.logged(), Instant::now());
    while since.elapsed() < IDLE_TIME {
        if start.elapsed() > MAX_ACTIVE_TIME {
            return Err(format!("reports are still sent after {MAX_ACTIVE_TIME:?}"));
        }
        thread::sleep(Duration::from_millis(20));
        let now = world.herd.logged();
        if now != logged {
            (logged, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// Checks the memory of all servers, most of which is not returned to the system after a fault.
/// Returns the maximum in bytes, or 0 if the system does not report it.
pub(crate) fn memory_is_bounded(world: &World) -> Result<u64, String> {
    let mut max = 0;
    for process in world.herd.processes() {
        let bytes = process.memory().unwrap_or(0);
        if bytes > MAX_MEMORY_BYTES {
            return Err(format!("{} uses {bytes} bytes", process.name));
        }
        max = bytes.max(max);
    }
    Ok(max)
}

/// Returns the clients for which answers differ.
fn differing_clients(world: &World, clients: &[String]) -> Result<Vec<String>, String> {
    let processes = world.herd.processes();
    let views = processes
        .iter()
        .map(|process| view(world, process, clients));
    let views = views.collect::<Result<Vec<View>, String>>()?;
    let differ = |index: usize| views.iter().any(|view| view[index] != views[0][index]);
    let indices = (0..clients.len()).filter(|&index| differ(index));
    Ok(indices.map(|index| clients[index].clone()).collect())
}

fn view(world: &World, process: &ServerProcess, clients: &[String]) -> Result<View, String> {
    let requests = clients
        .iter()
        .map(|client| ClientRequest::Whatsat(client.clone()));
    session::send_all(world, process, requests.collect())
}

/// Describes the differing answers for the first clients.
fn describe_differences(world: &World, clients: &[String]) -> String {
    let mut text = format!("answers differ for {} clients:", clients.len());
    for client in clients.iter().take(5) {
        for process in world.herd.processes() {
            let known = process.knows(client);
            let known = known.map_or("?".to_owned(), |report| report.to_string());
            text += &format!("\n  {} (process {}): {known}", process.name, process.number);
        }
    }
    text
}
