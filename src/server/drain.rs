//! The end of a server without a loss: last answers to clients, last pushes to neighbours, and the
//! reports that may be lost.

use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, info, warn};

use crate::format::{count, list};
use crate::gateway::StorageProgress;
use crate::model::client::ClientId;
use crate::replication::NeighbourId;
use crate::storage::Storage;

use super::RunningServer;

/// Maximum time that a drained server waits for open calls: they are answered at once, but
/// a caller may never read its answer.
const MAX_LAST_CALLS: Duration = Duration::from_millis(500);

/// Maximum time that a drained server waits for its storage beyond the drain time.
const MAX_LAST_WRITE: Duration = Duration::from_millis(500);

/// Part of the drain time after which queries of places that are still in progress are answered
/// with an error.
const ABANDON_SHARE: f64 = 0.5;

/// Part of the drain time after which clients that have not read their answers are disconnected.
const DISCONNECT_SHARE: f64 = 0.75;

/// Maximum number of clients that the log names at the end of a drain.
const MAX_NAMED_CLIENTS: usize = 10;

impl RunningServer {
    /// Stops the server: accepts nothing more, answers what was read, ends all connections of
    /// clients, and pushes until every neighbour that is up and the disk have everything or the drain
    /// time has passed. Logs which reports of its own clients neither the disk has nor a neighbour
    /// that is up has acknowledged, and returns their number; a neighbour that was up when the drain began counts as up.
    ///
    /// Clients get at most three quarters of the drain time, so that the links have the rest.
    pub async fn drain(mut self) -> usize {
        let span = self.span.clone();
        async {
            let begun = Instant::now();
            let deadline = begun + self.drain_time;
            let were_up = self.neighbours_up();
            self.gateway.shutdown().drain().cancel();
            self.health.set(false).await;
            // Answers may wait for a disk that failed.
            self.storage.iter().for_each(Storage::retry);
            self.end_sessions(begun).await;
            let shutdown = self.gateway.shutdown();
            shutdown.finish().cancel();
            let flushed = timeout_at(deadline, flush(&self.storage));
            let _ = tokio::join!(self.links.finish(deadline), flushed);
            shutdown.stop().cancel();
            wait_for(
                &mut self.peers,
                deadline.min(Instant::now() + MAX_LAST_CALLS),
            )
            .await;
            // What neighbours pushed until the end, and what was applied of their feeds.
            let last = deadline.max(Instant::now() + MAX_LAST_WRITE);
            if timeout_at(last, flush(&self.storage)).await.is_err() {
                // A disk that hangs does not keep the process.
                self.storage.iter_mut().for_each(Storage::detach);
            }
            let unacknowledged = self.unacknowledged(were_up);
            match unacknowledged.warning() {
                Some(warning) => warn!("stopped; {warning}"),
                None => info!("stopped"),
            }
            // A disk or a reader that hangs delays no other server of the process.
            let log = self.log.clone();
            let _ = spawn_blocking(move || log.flush()).await;
            unacknowledged.reports
        }
        .instrument(span)
        .await
    }

    /// Waits until no client is connected, in phases that end those that do not cooperate.
    async fn end_sessions(&mut self, begun: Instant) {
        let Self {
            gateway,
            clients,
            drain_time,
            ..
        } = self;
        let shutdown = gateway.shutdown();
        for (share, phase) in [
            (ABANDON_SHARE, shutdown.abandon()),
            (DISCONNECT_SHARE, shutdown.disconnect()),
        ] {
            let deadline = begun + drain_time.mul_f64(share);
            if timeout_at(deadline, all_ended(clients)).await.is_ok() {
                return;
            }
            phase.cancel();
        }
        // Disconnected sessions end at once.
        all_ended(clients).await;
    }

    fn neighbours_up(&self) -> Vec<NeighbourId> {
        let (replica, links) = (self.gateway.replica(), self.gateway.links());
        let neighbours = replica.neighbours().map(|(id, _)| id);
        neighbours.filter(|&id| links.state(id).is_up).collect()
    }

    /// Returns the reports of own clients that no neighbour that is or was up has acknowledged.
    fn unacknowledged(&self, were_up: Vec<NeighbourId>) -> Unacknowledged {
        let (replica, links) = (self.gateway.replica(), self.gateway.links());
        let mut unacknowledged = Unacknowledged {
            is_stored: self.storage.is_some(),
            ..Unacknowledged::default()
        };
        // Without either it is known from the start that reports end with the server.
        if replica.neighbours().next().is_none() && self.storage.is_none() {
            return unacknowledged;
        }
        let holders = [were_up, self.neighbours_up()].concat();
        let cursors = holders.iter().map(|&id| links.state(id).cursor);
        let durable = self.gateway.storage().map(StorageProgress::durable);
        let last = cursors.chain(durable).max().unwrap_or(0);
        replica.own_reports_after(last, &holders, |report| unacknowledged.add(report.client));
        unacknowledged
    }
}

/// Reports that may be lost with this server.
#[derive(Debug, Default)]
struct Unacknowledged {
    reports: usize,
    /// The clients of the first few.
    clients: Vec<String>,
    /// Whether the server has storage, which then failed.
    is_stored: bool,
}

impl Unacknowledged {
    fn add(&mut self, client: ClientId<'_>) {
        self.reports += 1;
        if self.clients.len() < MAX_NAMED_CLIENTS {
            self.clients.push(client.text().to_owned());
        }
    }

    /// Returns the message about them; `None` if there are none.
    fn warning(&self) -> Option<String> {
        let those = match self.reports {
            0 => return None,
            1 => "that",
            _ => "those",
        };
        let reports = count(self.reports as u64, "report");
        let mut clients = self.clients.clone();
        let others = self.reports - clients.len();
        if others > 0 {
            clients.push(count(others as u64, "other"));
        }
        let clients = list(&clients, "and");
        let disk = if self.is_stored {
            ", and the disk does not have them"
        } else {
            ""
        };
        Some(format!(
            "{reports} may be lost: no neighbour that is up acknowledged {those} of {clients}{disk}"
        ))
    }
}

/// Writes what is not durable, if there is storage.
async fn flush(storage: &Option<Storage>) {
    if let Some(storage) = storage {
        storage.flush().await;
    }
}

async fn all_ended<T: 'static>(tasks: &mut JoinSet<T>) {
    while tasks.join_next().await.is_some() {}
}

/// Waits until all tasks have ended, and aborts those that have not by `deadline`.
async fn wait_for<T: 'static>(tasks: &mut JoinSet<T>, deadline: Instant) {
    if timeout_at(deadline, all_ended(tasks)).await.is_err() {
        tasks.abort_all();
    }
}
