//! What the edges of one server share: its replica, its clock, the board of its
//! links and the counts of what it did.
//!
//! Clients speak lines of text, servers speak gRPC, and neither edge knows the
//! other. Both hand reports to the gateway, which takes them into the replica
//! and wakes the links; that is all the translation there is.

mod counters;
mod lag;
mod limits;
mod link_table;
mod purge;
mod reloads;

pub use counters::{LineCounters, ServerCounters};
pub use lag::Lag;
pub use link_table::{LinkState, LinkTable, LinkTraffic};
pub use purge::purge_expired_forever;
pub use reloads::{ReloadOutcome, ReloadStatus};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::futures::Notified;
use tracing::warn;

use crate::log::LogThrottle;
use crate::model::client::ClientId;
use crate::model::name::Name;
use crate::model::position::Position;
use crate::model::report::{Origin, Report};
use crate::model::timestamp::{Skew, Timestamp, UnixNanos};
use crate::replication::NeighbourId;
use crate::replication::replica::Replica;
use crate::replication::store::{MergeResult, StoreFull};

use limits::Limits;

/// What a server asks of the reports of its own clients. Reports that come from
/// neighbours are never judged by these, or two servers could disagree about
/// the same report for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// How far a client's clock may be ahead of the server's. Default one day,
    /// at most 100 years. Too low refuses honest clients whose clock is a
    /// little fast; too high lets one broken clock pin a client's position
    /// until that time has come.
    pub max_future: Duration,
    /// How many clients a server may know before it refuses reports of new
    /// ones. Default ten million, about 1.6 GB. Too low refuses new clients;
    /// too high lets whoever can connect fill the memory.
    pub max_clients: usize,
    /// After how long by its client's time a report is hidden from answers; a
    /// day later it is forgotten. Default never, 1 s to 100 years, the same on
    /// all servers of a herd. Too low hides clients that report seldom; too
    /// high keeps the memory of those that are gone.
    pub expire_after: Option<Duration>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            max_future: Duration::from_secs(24 * 60 * 60),
            max_clients: 10_000_000,
            expire_after: None,
        }
    }
}

/// The time of day, in nanoseconds since 1970. Timers run on the monotonic
/// clock and never on this one.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixNanos + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::new(|| {
            let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed();
            let nanos = since_1970.map_or_else(|before| -nanos(before.duration()), nanos);
            UnixNanos(nanos)
        })
    }

    /// A clock of the caller's making, for tests and simulations.
    pub fn new(now: impl Fn() -> UnixNanos + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What time it is.
    pub fn now(&self) -> UnixNanos {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

/// One server, as its edges see it. Shared between all of its tasks.
#[derive(Debug)]
pub struct Gateway {
    replica: Replica,
    clock: Clock,
    limits: Limits,
    board: LinkTable,
    counts: ServerCounters,
    reloads: ReloadStatus,
    full: LogThrottle,
}

/// A client's time is too far in the server's future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFarInFuture;

/// A client that is connected, until this is dropped.
#[derive(Debug)]
pub struct Connected(Arc<Gateway>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.counts.note_left();
    }
}

/// Somebody who is told of news, until this is dropped.
#[derive(Debug)]
pub struct Watching(Arc<Gateway>);

impl Watching {
    /// Resolves when there may be news, from this call on.
    pub fn news(&self) -> Notified<'_> {
        self.0.board.news_for_watchers()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.board.count_watcher(false);
    }
}

/// That there is no room for new clients is told once in this time.
const TELL_PAUSE: Duration = Duration::from_secs(10);

impl Gateway {
    /// Puts a server together.
    pub fn new(replica: Replica, clock: Clock, settings: &GatewaySettings) -> Self {
        let board = LinkTable::default();
        for (neighbour, _) in replica.neighbours() {
            board.begin(neighbour, clock.now());
        }
        Self {
            reloads: ReloadStatus::new(clock.now()),
            replica,
            clock,
            limits: Limits::new(settings),
            board,
            counts: ServerCounters::default(),
            full: LogThrottle::new(TELL_PAUSE),
        }
    }

    /// How many clients the server may know before it refuses reports of new
    /// ones.
    pub fn max_clients(&self) -> usize {
        self.limits.max_clients()
    }

    /// Goes over to other limits, but for `expire_after`, which is the replica's
    /// and stays.
    pub fn set_limits(&self, settings: &GatewaySettings) {
        self.limits.set(settings);
    }

    /// The server's part in the herd.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The server's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The state of the server's links.
    pub fn board(&self) -> &LinkTable {
        &self.board
    }

    /// What the server has done.
    pub fn counts(&self) -> &ServerCounters {
        &self.counts
    }

    /// How reading the config went.
    pub fn reloads(&self) -> &ReloadStatus {
        &self.reloads
    }

    /// A place for a server that is to be a neighbour, for which a link may be
    /// made; see [`Replica::register`].
    pub fn register(&self, name: &Name) -> Option<NeighbourId> {
        self.replica.register(name)
    }

    /// From now on it is a neighbour, whose link begins. Not to be called while
    /// the task of an earlier link with it runs.
    pub fn link(&self, neighbour: NeighbourId) {
        self.board.begin(neighbour, self.clock.now());
        self.replica.link(neighbour);
    }

    /// From now on it is none; see [`Replica::unlink`].
    pub fn unlink(&self, neighbour: NeighbourId) {
        self.replica.unlink(neighbour);
    }

    /// A client is connected, for as long as what this gives is held.
    pub fn connect(self: &Arc<Self>) -> Connected {
        self.counts.note_connected();
        Connected(self.clone())
    }

    /// Somebody is told of news, for as long as what this gives is held. Nobody
    /// else pays for it.
    pub fn watch(self: &Arc<Self>) -> Watching {
        self.board.count_watcher(true);
        Watching(self.clone())
    }

    /// The report of a client that says, at `now`, where it is.
    pub fn report<'a>(
        &'a self,
        now: UnixNanos,
        client: ClientId<'a>,
        position: Position<'a>,
        time: Timestamp<'a>,
    ) -> Result<Report<'a>, TooFarInFuture> {
        let skew = Skew::between(now, time).filter(|skew| self.is_acceptable(*skew));
        Ok(Report {
            client,
            origin: Origin::from(&self.replica.identity().name),
            position,
            time,
            skew: skew.ok_or(TooFarInFuture)?,
        })
    }

    /// Takes reports that clients made at `now`, each with its place among them, and
    /// tells `each`, which must be quick, what became of which, but of those that are
    /// too old to be kept. Wakes no link, and counts nothing: callers do, once for all
    /// that they take in a row.
    pub fn admit<'a>(
        &self,
        now: UnixNanos,
        reports: impl Iterator<Item = (usize, &'a Report<'a>)>,
        mut each: impl FnMut(usize, Result<MergeResult, StoreFull>),
    ) {
        let most = self.limits.max_clients();
        let mut is_full = false;
        self.replica.admit_all(reports, now, most, |nth, admitted| {
            is_full |= admitted == Err(StoreFull);
            each(nth, admitted);
        });
        if is_full {
            self.tell_full();
        }
    }

    /// Hands the newest report of a client to `read`; `None` if the server has
    /// none, or one that is hidden by now. `read` must be quick, see
    /// [`Store::find`].
    ///
    /// [`Store::find`]: crate::replication::store::Store::find
    pub fn locate<T>(&self, client: ClientId<'_>, read: impl FnOnce(Report<'_>) -> T) -> Option<T> {
        self.replica.locate(client, || self.clock.now(), read)
    }

    fn is_acceptable(&self, skew: Skew) -> bool {
        skew.0 >= -self.limits.max_future()
    }

    fn tell_full(&self) {
        if let Some(suppressed) = self.full.admit() {
            let most = self.limits.max_clients();
            warn!(
                "{most} clients are known: IAMATs of new ones are refused; \
                 raise max_clients, or let expire_after make room{suppressed}"
            );
        }
    }
}

/// A span of time as nanoseconds, at most 292 years.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
