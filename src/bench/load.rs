//! A load: its connections and threads, from start to end.

use std::sync::Arc;
use std::thread;

use super::connection::LoadConnection;
use super::dial::Connector;
use super::error::BenchError;
use super::run_state::RunState;
use super::settings::{BenchSettings, Length, Load};
use super::tally::Tally;
use super::window::WorkerState;
use super::worker::{Worker, WorkerResult};
use super::workload::Workload;

/// The newest report of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported {
    pub(super) client: u32,
    /// The report's time, in nanoseconds since 1970.
    pub(super) nanos: u64,
    /// The index of the server that received it.
    pub(super) server: usize,
}

/// The result of a load.
pub(super) struct LoadResult {
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
    run: &Arc<RunState>,
) -> Result<LoadResult, BenchError> {
    let mut threads = Vec::new();
    for worker in workers(settings, load, run)? {
        threads.push(thread::spawn(|| worker.run()));
    }
    let mut tally = Tally::new(settings.servers.len());
    let mut connections = Vec::new();
    for thread in threads {
        // The panic hook has already reported the panic, and it cannot be handled here.
        let done: WorkerResult = thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        tally.add(done.tally);
        connections.extend(done.connections);
    }
    let ended = run.clock.now();
    run.end_load();
    let whole = connections
        .iter()
        .filter(|connection| !connection.is_broken);
    let reported = whole.flat_map(|connection| {
        let newest = connection.workload.newest();
        newest.map(|(client, nanos)| Reported {
            client,
            nanos,
            server: connection.server,
        })
    });
    let reported = reported.collect();
    Ok(LoadResult {
        tally,
        reported,
        ended,
    })
}

fn workers(
    settings: &BenchSettings,
    load: &Load,
    run: &Arc<RunState>,
) -> Result<Vec<Worker>, BenchError> {
    let threads = load.threads;
    let mut by_thread: Vec<Vec<LoadConnection>> = (0..threads).map(|_| Vec::new()).collect();
    let connector = Connector::new(&settings.servers, load.timeout, run)?;
    for index in 0..load.connections {
        let server = index as usize % settings.servers.len();
        let stream = connector.connect(server)?;
        let workload = Workload::new(index, load.connections, load.clients, load.queries);
        let connection = LoadConnection::new(stream, index, server, workload);
        by_thread[(index % threads) as usize].push(connection);
    }
    let mut workers = Vec::new();
    for (thread, connections) in by_thread.into_iter().enumerate() {
        let share = match load.length {
            Length::Requests(all) => share(all, threads.into(), thread as u64),
            Length::Time(_) => 0,
        };
        let state = worker_state(settings, load);
        let run = run.clone();
        workers.push(Worker::new(connections, state, load, share, run)?);
    }
    Ok(workers)
}

/// Returns the share of `all` for worker `one` of `several`.
fn share(all: u64, several: u64, one: u64) -> u64 {
    all / several + u64::from(one < all % several)
}

fn worker_state(settings: &BenchSettings, load: &Load) -> WorkerState {
    let radius = load.radius.to_string();
    WorkerState {
        payload: settings.payload(&radius, load.limit),
        limit: load.limit,
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
