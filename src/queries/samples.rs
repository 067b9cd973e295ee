//! A small server for the tests of queries, with a clock that tests set.

use std::time::Duration;

use crate::model::client::ClientId;
use crate::model::name::Name;
use crate::model::position::Position;
use crate::model::report::{Origin, Report};
use crate::model::timestamp::{NANOS_PER_SECOND, Skew, Timestamp, UnixNanos};
use crate::replication::Incarnation;
use crate::replication::expiry::Expiry;
use crate::replication::replica::{Replica, ServerIdentity};
use crate::replication::store::{StoredReport, Walk};

/// Seconds between expiry and purge.
const PURGE_DELAY_SECONDS: u64 = 5;

pub(super) struct TestServer {
    pub(super) replica: Replica,
    pub(super) now: UnixNanos,
}

impl TestServer {
    /// Creates an empty server whose reports expire after some seconds.
    pub(super) fn new(expire_after: Option<u64>) -> Self {
        let name = |text| Name::parse(text).unwrap();
        let identity = ServerIdentity {
            herd: name("test"),
            name: name("Riley"),
            incarnation: Incarnation::new(1).unwrap(),
        };
        let members = vec![name("Riley")];
        let replica = Replica::new(identity, members, Vec::new(), [1, 2, 3, 4]);
        let expiry = |after| {
            let [after, purge_delay] = [after, PURGE_DELAY_SECONDS].map(Duration::from_secs);
            Expiry::new(after, purge_delay)
        };
        Self {
            replica: replica.with_expiry(expire_after.map(expiry)),
            now: UnixNanos(0),
        }
    }

    /// Merges a client's report with a time in seconds since 1970.
    pub(super) fn report(&self, client: &str, position: &str, time: u64) {
        let time = time.to_string();
        let report = Report {
            client: ClientId::parse(client.as_bytes()).unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(position.as_bytes()).unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(0),
        };
        self.replica.admit(&report, self.now, usize::MAX).unwrap();
    }

    /// Sets the clock, in seconds since 1970.
    pub(super) fn set_now(&mut self, seconds: u64) {
        self.now = UnixNanos(seconds as i64 * NANOS_PER_SECOND);
    }

    /// Purges the reports that are expired, as if they had been for the purge delay.
    pub(super) fn purge(&self) {
        let delay = Duration::from_secs(PURGE_DELAY_SECONDS);
        for uptime in [Duration::ZERO, delay * 2] {
            let mut walk = Walk::default();
            for _ in 0..self.replica.store().walk_steps(1000) {
                self.replica.purge_some(&mut walk, 1000, self.now, uptime);
            }
        }
    }

    /// Returns a value for each report that is not expired at `now`, in no particular order.
    pub(super) fn visible<T>(&self, now: UnixNanos, each: impl Fn(&Report<'_>) -> T) -> Vec<T> {
        let mut all = Vec::new();
        let visit = |stored: &StoredReport<'_>| {
            if !self.replica.is_expired(stored.report.order_time(), now) {
                all.push(each(&stored.report));
            }
        };
        self.replica.store().scan(visit, || ());
        all
    }
}
