//! The state that the edges of one server share: its replica, clock, links, counters and status.
//!
//! Clients speak lines of text, servers speak gRPC, and neither edge depends on the other. Both
//! pass reports to the gateway, which merges them into the replica and wakes the links.
//!
//! | file | contents |
//! |---|---|
//! | `settings` | the settings that change at run time |
//! | `clock` | the time of day |
//! | `incoming` | what arrives from a neighbour, and from how many processes |
//! | `link_table` | the state of the links, and what wakes their tasks |
//! | `counters` | counters, and the table of metrics |
//! | `storage` | the progress of storage |
//! | `acknowledgement` | when the report of a client is acknowledged |
//! | `status` | the state of the server as one message |
//! | `reloads` | the outcome of reading the config |
//! | `feed_watch` | a watch of the feed, at its own pace |
//! | `known_report` | reports that the server holds, as messages |
//! | `purge` | purging of reports |
//! | `scans` | scans of the store for queries |
//! | `tiles` | the address of a raster map |
//! | `token` | the token of the API |
//! | `shutdown` | the phases of a shutdown |

mod acknowledgement;
mod clock;
mod counters;
mod feed_watch;
mod incoming;
mod known_report;
mod link_table;
mod purge;
mod reloads;
mod scans;
mod settings;
mod shutdown;
mod status;
mod storage;
mod tiles;
mod token;

pub use acknowledgement::{AcknowledgeLevel, PendingAcknowledgement};
pub use clock::Clock;
pub use counters::{
    CLIENT_LINE_METRICS, CONFIG_METRICS, ClientLineCounters, LINK_METRICS, LinkCounters,
    LinkTraffic, PLACES_METRICS, RECOVERY_METRICS, REJECTED_CALL_METRICS,
    REJECTED_CONNECTION_METRICS, REJECTED_WEB_CALL_METRICS, RejectedConnectionCounters,
    RejectedWebCallCounters, SERVER_METRICS, STORAGE_METRICS, ServerCounters,
};
pub use feed_watch::{FeedWatch, ReportFilter, WatchBatch, WatchStart};
pub use incoming::{DuplicateProcesses, MAX_SILENCE};
pub use known_report::{age, known_report};
pub use link_table::{IncomingState, LinkState, LinkTable};
pub use purge::purge_expired_forever;
pub use reloads::{ReloadOutcome, ReloadStatus};
pub use scans::give_way;
pub use settings::{
    ClientSettings, GatewaySettings, Member, ServerSettings, SettingsReader, WebSettings,
};
pub use shutdown::Shutdown;
pub use status::StatusSource;
pub use storage::{StorageProgress, StorageSnapshot, WriteRequest};
pub use tiles::TilesUrl;
pub use token::{Token, TokenError};

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::Instant;
use tracing::warn;

use crate::line_protocol::reply;
use crate::lock::lock;
use crate::log::LogThrottle;
use crate::model::client::ClientId;
use crate::model::decimal::Decimal;
use crate::model::name::Name;
use crate::model::position::Position;
use crate::model::report::{Origin, Report};
use crate::model::timestamp::{Skew, Timestamp, UnixNanos};
use crate::places::PlacesQuery;
use crate::random;
use crate::replication::replica::{MergeStats, Replica};
use crate::replication::store::{MergeResult, StoreFull};
use crate::replication::{Incarnation, NeighbourId};

use clock::saturating_nanos;
use scans::ScanTurns;

/// Minimum interval between two new incarnations, so that a neighbour that answers nonsense cannot
/// make this server send everything again and again. Meanwhile the link to it is down.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// Number of reports that are merged before other tasks get their turn: half a millisecond's work,
/// and enough to be merged well together.
const MERGE_PIECE: usize = 1024;

/// Minimum interval between warnings that no more clients fit.
const STORE_FULL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// One server, as its edges see it. Shared between all of its tasks.
#[derive(Debug)]
pub struct Gateway {
    replica: Replica,
    clock: Clock,
    settings: watch::Sender<Arc<ServerSettings>>,
    links: LinkTable,
    counters: ServerCounters,
    reloads: ReloadStatus,
    store_full_log: LogThrottle,
    /// Time of the last new incarnation.
    renewed_at: Mutex<Option<Instant>>,
    scan_turns: ScanTurns,
    shutdown: Shutdown,
    storage: Option<Arc<StorageProgress>>,
}

/// Draws an incarnation that no other run of any server has.
pub fn draw_incarnation() -> Incarnation {
    std::iter::repeat_with(random::u64)
        .find_map(Incarnation::new)
        .expect("the iterator is endless")
}

/// The error for a report whose time is too far in the server's future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFarInFuture;

/// An open client connection. Counts as closed when dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Gateway>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.counters.client_connections_closed.add(1);
    }
}

/// A subscription to changes of the feed, until dropped.
#[derive(Debug)]
pub struct ChangeSubscription(Arc<Gateway>);

impl ChangeSubscription {
    /// Resolves when there may be changes that were not in the feed at this call.
    pub fn changed(&self) -> Notified<'_> {
        self.0.links.subscribers_notified()
    }
}

impl Drop for ChangeSubscription {
    fn drop(&mut self) {
        self.0.links.remove_subscriber();
    }
}

impl Gateway {
    /// Creates the gateway of a server.
    pub fn new(replica: Replica, clock: Clock, settings: ServerSettings) -> Self {
        let links = LinkTable::default();
        for (neighbour, _) in replica.neighbours() {
            links.begin(neighbour, clock.now());
        }
        Self {
            reloads: ReloadStatus::new(clock.now()),
            replica,
            clock,
            settings: watch::Sender::new(Arc::new(settings)),
            links,
            counters: ServerCounters::default(),
            store_full_log: LogThrottle::new(STORE_FULL_LOG_INTERVAL),
            renewed_at: Mutex::default(),
            scan_turns: ScanTurns::default(),
            shutdown: Shutdown::new(),
            storage: None,
        }
    }

    /// Sets the progress of the server's storage.
    pub fn with_storage(mut self, storage: Option<Arc<StorageProgress>>) -> Self {
        self.storage = storage;
        self
    }

    /// Returns the latest settings.
    pub fn settings(&self) -> Arc<ServerSettings> {
        self.settings.borrow().clone()
    }

    /// Returns a reader of the latest settings.
    pub fn settings_reader(&self) -> SettingsReader {
        SettingsReader::new(self.settings.subscribe())
    }

    /// Replaces the settings. A change of `expire_after` has no effect: it belongs to the replica.
    pub fn change_settings(&self, settings: ServerSettings) {
        self.settings.send_replace(Arc::new(settings));
    }

    /// Returns the server's replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Returns the server's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the state of the server's links.
    pub fn links(&self) -> &LinkTable {
        &self.links
    }

    /// Returns the server's counters.
    pub fn counters(&self) -> &ServerCounters {
        &self.counters
    }

    /// Returns the progress of the server's storage; `None` if it stores nothing.
    pub fn storage(&self) -> Option<&StorageProgress> {
        self.storage.as_deref()
    }

    /// Returns the phases of the server's shutdown.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Returns the outcome of the last reload of the config.
    pub fn reloads(&self) -> &ReloadStatus {
        &self.reloads
    }

    /// Reserves an ID for a server that is to become a neighbour; see [`Replica::register`].
    pub fn register(&self, name: &Name) -> Option<NeighbourId> {
        self.replica.register(name)
    }

    /// Makes a registered server a neighbour, and begins its link. Must not be called while the
    /// task of an earlier link with it runs.
    pub fn link(&self, neighbour: NeighbourId) {
        self.links.begin(neighbour, self.clock.now());
        self.replica.link(neighbour);
    }

    /// Ends the link; see [`Replica::unlink`].
    pub fn unlink(&self, neighbour: NeighbourId) {
        self.replica.unlink(neighbour);
    }

    /// Replaces the incarnation `used`, which `neighbour` has shown to be used by another process
    /// too, by a fresh one, with which all links greet. Does nothing if it is replaced already, or
    /// another one was lately.
    pub fn renew_incarnation(&self, used: Incarnation, fresh: Incarnation, neighbour: &Name) {
        // Held for a few reads and writes, never across an await.
        let mut renewed_at = lock(&self.renewed_at);
        let is_recent = renewed_at.is_some_and(|at| at.elapsed() < RENEWAL_INTERVAL);
        if is_recent || !self.replica.renew_incarnation(used, fresh) {
            return;
        }
        *renewed_at = Some(Instant::now());
        self.counters.incarnation_renewals.add(1);
        self.links.forget_acknowledged();
        self.links.notify_changes();
        warn!(
            "{neighbour} holds changes of incarnation {used} of this server that this process did \
             not send: another process has used the incarnation, as after the restore of a machine \
             image; continues as incarnation {fresh}, and all neighbours and this server send each \
             other everything again"
        );
    }

    /// Counts a client connection, which is open until the returned value is dropped.
    pub fn connect(self: &Arc<Self>) -> OpenConnection {
        self.counters.client_connections_accepted.add(1);
        OpenConnection(self.clone())
    }

    /// Merges reports that did not come from clients: passes pieces of them to `merge`, with the
    /// time, and wakes what waits for changes. Other tasks get their turn after each whole piece.
    pub async fn merge_in_turns<T>(
        &self,
        reports: &[T],
        mut merge: impl FnMut(&[T], UnixNanos) -> MergeStats,
    ) {
        for piece in reports.chunks(MERGE_PIECE) {
            if merge(piece, self.clock.now()).newer > 0 {
                self.links.notify_changes();
            }
            if piece.len() == MERGE_PIECE {
                yield_now().await;
            }
        }
    }

    /// Subscribes to changes of the feed. Without subscribers, changes cost nothing more.
    pub fn subscribe(self: &Arc<Self>) -> ChangeSubscription {
        self.links.add_subscriber();
        ChangeSubscription(self.clone())
    }

    /// Makes a report of what a client sent at `now`.
    ///
    /// # Errors
    ///
    /// [`TooFarInFuture`] if the client's time is more than `max_future` after `now`.
    pub fn report<'a>(
        &'a self,
        now: UnixNanos,
        limits: &GatewaySettings,
        client: ClientId<'a>,
        position: Position<'a>,
        time: Timestamp<'a>,
    ) -> Result<Report<'a>, TooFarInFuture> {
        let max_future = saturating_nanos(limits.max_future);
        let skew = Skew::between(now, time).filter(|skew| skew.0 >= -max_future);
        Ok(Report {
            client,
            origin: Origin::from(self.replica.name()),
            position,
            time,
            skew: skew.ok_or(TooFarInFuture)?,
        })
    }

    /// Merges reports that clients made at `now`. Calls `each` with the number that came with a
    /// report and its result. `each` runs under a lock and must be quick.
    ///
    /// Wakes no link and counts nothing: callers do so once for all reports of a batch.
    pub fn admit<'a>(
        &self,
        now: UnixNanos,
        limits: &GatewaySettings,
        reports: impl Iterator<Item = (usize, &'a Report<'a>)>,
        mut each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let max_clients = limits.max_clients;
        let mut is_full = false;
        self.replica
            .admit_all(reports, now, max_clients, |nth, admitted| {
                is_full |= admitted == Err(StoreFull);
                each(nth, admitted);
            });
        if is_full {
            self.log_store_full(max_clients);
        }
    }

    /// Passes the newest report of a client to `read`. Returns `None` if the server has no report
    /// of it, or an expired one. `read` must be quick, see [`Store::find`].
    ///
    /// [`Store::find`]: crate::replication::store::Store::find
    pub fn locate<T>(&self, client: ClientId<'_>, read: impl FnOnce(Report<'_>) -> T) -> Option<T> {
        self.replica.locate(client, || self.clock.now(), read)
    }

    /// Reads a WHATSAT: returns the client's AT line with its LF, and the query of the places
    /// within `radius` kilometres. Returns `None` as [`locate`](Self::locate) does.
    pub fn whatsat(
        &self,
        client: ClientId<'_>,
        radius: Decimal<'_>,
        limit: usize,
    ) -> Option<(Vec<u8>, PlacesQuery)> {
        self.locate(client, |report| {
            let mut at_line = Vec::new();
            reply::at(&mut at_line, &report);
            (at_line, PlacesQuery::new(report.position, radius, limit))
        })
    }

    fn log_store_full(&self, max_clients: usize) {
        if let Some(suppressed) = self.store_full_log.admit() {
            warn!(
                "rejected reports of new clients: the server holds {max_clients} clients; raise \
                 max_clients, or set expire_after to purge old ones{suppressed}"
            );
        }
    }
}
