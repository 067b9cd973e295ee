//! Clients that report and query while a herd is in trouble, and the check that every
//! server has their reports in the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::common::{Client, Herd, eventually};

/// A client's time, in seconds.
const SECONDS: &str = "1621464827";

/// The number of clients of each server, which report in turn.
const CLIENTS: usize = 20;

/// The number of rounds of [`ClientLoad::await_rounds`]. A client that waits half a second
/// for a neighbour in each round exceeds the time limit of a test.
const ROUNDS: usize = 150;

/// The pause between two rounds, which leaves the machine to other tests.
const ROUND_INTERVAL: Duration = Duration::from_millis(2);

/// Threads that each report to one server and query it, until they are stopped.
pub(crate) struct ClientLoad {
    is_stopped: Arc<AtomicBool>,
    threads: Vec<LoadThread>,
}

struct LoadThread {
    server: String,
    rounds: Arc<AtomicUsize>,
    /// Returns the answer to each client's last report.
    thread: JoinHandle<HashMap<String, String>>,
}

/// The last report of every client of a load, as its AT line.
pub(crate) struct LastReports(HashMap<String, String>);

impl ClientLoad {
    /// Starts a thread for each of `servers`. Reports of a load are newer than those of
    /// loads with a smaller `turn`.
    pub(crate) fn start(herd: &Herd, servers: &[&str], turn: usize) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let start = |&server: &&str| {
            let (client, is_stopped) = (herd.client(server), is_stopped.clone());
            let (server, rounds) = (server.to_owned(), Arc::new(AtomicUsize::new(0)));
            let (name, count) = (server.clone(), rounds.clone());
            let run = move || run(client, &name, turn, &count, &is_stopped);
            LoadThread {
                server,
                rounds,
                thread: std::thread::spawn(run),
            }
        };
        Self {
            threads: servers.iter().map(start).collect(),
            is_stopped: is_stopped.clone(),
        }
    }

    /// Waits until every server has answered its client in a number of further rounds:
    /// it serves its clients in the current trouble.
    #[track_caller]
    pub(crate) fn await_rounds(&self) {
        let rounds = |thread: &LoadThread| thread.rounds.load(Relaxed);
        let ends: Vec<_> = (self.threads.iter())
            .map(|thread| rounds(thread) + ROUNDS)
            .collect();
        for (thread, end) in self.threads.iter().zip(ends) {
            eventually(&format!("{} answers its client", thread.server), || {
                (rounds(thread) >= end || thread.thread.is_finished()).then_some(())
            });
        }
    }

    /// Waits for a number of further rounds, and stops the load.
    #[track_caller]
    pub(crate) fn stop(mut self) -> LastReports {
        self.await_rounds();
        self.is_stopped.store(true, Relaxed);
        let mut last = HashMap::new();
        for thread in self.threads.drain(..) {
            let reports = thread.thread.join();
            last.extend(reports.expect("every request is answered"));
        }
        LastReports(last)
    }
}

impl Drop for ClientLoad {
    fn drop(&mut self) {
        self.is_stopped.store(true, Relaxed);
    }
}

fn run(
    mut client: Client,
    server: &str,
    turn: usize,
    rounds: &AtomicUsize,
    is_stopped: &AtomicBool,
) -> HashMap<String, String> {
    let mut last = HashMap::new();
    for round in 0.. {
        if is_stopped.load(Relaxed) {
            break;
        }
        let name = format!("at-{server}-{}", round % CLIENTS);
        let line = client.ask(&format!("IAMAT {name} +1+1 {SECONDS}.{turn}{round:08}"));
        assert!(line.starts_with(&format!("AT {server} ")), "{line}");
        client.send(format!("WHATSAT {name} 10 0\n"));
        assert_eq!(client.places().0, line);
        last.insert(name, line);
        rounds.fetch_add(1, Relaxed);
        std::thread::sleep(ROUND_INTERVAL);
    }
    last
}

impl LastReports {
    /// Waits until every running server has the last report of every client, and asserts
    /// that its feed has one entry for each client.
    #[track_caller]
    pub(crate) fn await_everywhere(&self, herd: &Herd) {
        for server in herd.running() {
            for (client, line) in &self.0 {
                eventually(&format!("{server} has {line}"), || {
                    let held = herd.at_line(&server, client)?;
                    (held == *line).then_some(())
                });
            }
        }
        for server in herd.running() {
            let store = herd.gateway(&server).replica().store();
            assert_eq!(store.feed_entries(), store.clients(), "at {server}");
        }
    }
}
