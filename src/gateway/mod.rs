//! What the edges of one server share: its replica, its clock and the board of
//! its links.
//!
//! Clients speak lines of text, servers speak gRPC, and neither edge knows the
//! other. Both hand reports to the gateway, which takes them into the replica
//! and wakes the links; that is all the translation there is.

mod board;
mod forgetting;

pub use board::{Board, LinkState};
pub use forgetting::keep_forgetting;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::herd::replica::Replica;
use crate::herd::store::{Full, Merged};
use crate::log::Seldom;
use crate::model::client::ClientId;
use crate::model::position::Position;
use crate::model::report::{Origin, Report};
use crate::model::timestamp::{Skew, Timestamp, UnixNanos};

/// What a server asks of the reports of its own clients. Reports that come from
/// neighbours are never judged by these, or two servers could disagree about
/// the same report for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
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

impl Default for Settings {
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
    settings: Settings,
    board: Board,
    full: Seldom,
}

/// That there is no room for new clients is told once in this time.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// A report that a client's line became.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// The report, to be answered with its AT line.
    pub report: Report<'a>,
    /// Is it the newest now? Then links have something to send.
    pub is_news: bool,
}

impl Gateway {
    /// Puts a server together.
    pub fn new(replica: Replica, clock: Clock, settings: Settings) -> Self {
        let board = Board::new(replica.neighbours().len(), clock.now());
        Self {
            replica,
            clock,
            settings,
            board,
            full: Seldom::new(TELL_PAUSE),
        }
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
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// A client says, at `now`, where it is. `None` if its time is too far in
    /// the future or the server knows too many clients already; nothing changed
    /// then. Wakes no link: callers do, once for all that they take in a row.
    pub fn iamat<'a>(
        &'a self,
        now: UnixNanos,
        client: ClientId<'a>,
        position: Position<'a>,
        time: Timestamp<'a>,
    ) -> Option<Taken<'a>> {
        let report = Report {
            client,
            origin: Origin::from(&self.replica.identity().name),
            position,
            time,
            skew: Skew::between(now, time).filter(|skew| self.is_acceptable(*skew))?,
        };
        let most = self.settings.max_clients;
        match self.replica.admit(&report, now, most) {
            Ok(merged) => Some(Taken {
                report,
                is_news: merged == Merged::Newer,
            }),
            Err(Full) => {
                self.tell_full();
                None
            }
        }
    }

    /// How many IAMATs of new clients were refused since there were too many.
    pub fn turned_away(&self) -> u64 {
        self.full.count()
    }

    /// Hands the newest report of a client to `read`; `None` if the server has
    /// none, or one that is hidden by now. `read` must be quick, see
    /// [`Store::find`].
    ///
    /// [`Store::find`]: crate::herd::store::Store::find
    pub fn locate<T>(&self, client: ClientId<'_>, read: impl FnOnce(Report<'_>) -> T) -> Option<T> {
        self.replica.locate(client, || self.clock.now(), read)
    }

    fn is_acceptable(&self, skew: Skew) -> bool {
        skew.0 >= -nanos(self.settings.max_future)
    }

    fn tell_full(&self) {
        if self.full.turn().is_some() {
            let (most, refused) = (self.settings.max_clients, self.turned_away());
            warn!(
                "{most} clients are known: IAMATs of new ones are refused ({refused} so far); \
                 raise max_clients, or let expire_after make room"
            );
        }
    }
}

/// A span of time as nanoseconds, at most 292 years.
fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
