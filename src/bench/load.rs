//! A load: its connections and threads, from start to end.

use std::sync::Arc;
use std::thread;

use super::connection::Connection;
use super::convergence::Reported;
use super::dial::connect_nonblocking;
use super::error::BenchError;
use super::payload::Payload;
use super::settings::{BenchSettings, Length, Load};
use super::shared::Shared;
use super::tally::Tally;
use super::window::WorkerState;
use super::worker::{Done, Worker};
use super::workload::Workload;

/// The result of a load.
pub(super) struct Loaded {
    pub(super) tally: Tally,
    /// The newest report of every client whose connection did not break.
    pub(super) reported: Vec<Reported>,
    /// The end of the load, on the clock of the run.
    pub(super) ended: u64,
}

/// Connects, generates the load, and waits for its end.
pub(super) fn run(
    settings: &BenchSettings,
    load: &Load,
    shared: &Arc<Shared>,
) -> Result<Loaded, BenchError> {
    let mut threads = Vec::new();
    for worker in workers(settings, load, shared)? {
        threads.push(thread::spawn(|| worker.run()));
    }
    let mut tally = Tally::new(settings.servers.len());
    let mut connections = Vec::new();
    for thread in threads {
        // The panic hook has already reported the panic, and it cannot be handled here.
        let done: Done = thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        tally.add(done.tally);
        connections.extend(done.connections);
    }
    let ended = shared.clock.now();
    shared.end_load();
    let whole = connections
        .iter()
        .filter(|connection| !connection.is_broken);
    let reported = whole.flat_map(|connection| {
        let newest = connection.lane.newest();
        newest.map(|(client, nanos)| Reported {
            client,
            nanos,
            server: connection.server,
        })
    });
    let reported = reported.collect();
    Ok(Loaded {
        tally,
        reported,
        ended,
    })
}

fn workers(
    settings: &BenchSettings,
    load: &Load,
    shared: &Arc<Shared>,
) -> Result<Vec<Worker>, BenchError> {
    let threads = load.threads;
    let mut lanes: Vec<Vec<Connection>> = (0..threads).map(|_| Vec::new()).collect();
    for index in 0..load.connections {
        let server = index as usize % settings.servers.len();
        let stream = connect_nonblocking(&settings.servers[server], load.timeout)?;
        let lane = Workload::new(index, load.connections, load.clients, load.questions);
        let connection = Connection::new(stream, index, server, lane);
        lanes[(index % threads) as usize].push(connection);
    }
    let mut workers = Vec::new();
    for (thread, connections) in lanes.into_iter().enumerate() {
        let share = match load.length {
            Length::Requests(all) => share(all, threads.into(), thread as u64),
            Length::Time(_) => 0,
        };
        let desk = desk(settings, load);
        let shared = shared.clone();
        workers.push(Worker::new(connections, desk, load, share, shared)?);
    }
    Ok(workers)
}

/// Returns the share of `all` for worker `one` of `several`.
fn share(all: u64, several: u64, one: u64) -> u64 {
    all / several + u64::from(one < all % several)
}

fn desk(settings: &BenchSettings, load: &Load) -> WorkerState {
    let radius = load.radius.to_string();
    WorkerState {
        payload: Payload::new(&settings.prefix, settings.id_length, &radius, load.most),
        most: load.most,
        is_checked: load.is_checked,
        tally: Tally::new(settings.servers.len()),
        answered: 0,
        scratch: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for all in [0, 1, 7, 8, 100] {
            let sum: u64 = (0..8).map(|one| share(all, 8, one)).sum();
            assert_eq!(sum, all);
        }
    }
}
