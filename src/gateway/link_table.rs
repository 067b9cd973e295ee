//! The state of a server's links, for all tasks of the server to see.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::metrics::{AtomicInstant, Counter, Histogram};
use crate::model::timestamp::UnixNanos;
use crate::replication::replica::MergeStats;
use crate::replication::{Incarnation, NeighbourId};

/// A server counts as short of time for so long after it was seen to be.
const SHORT_FOR: Duration = Duration::from_millis(100);

/// One note for each link, and the bells that wake its task. A link that is
/// gone leaves its note, for the next with the same neighbour.
#[derive(Debug, Default)]
pub struct LinkTable {
    /// By the neighbours' ids.
    notes: boxcar::Vec<LinkEntry>,
    is_closing: AtomicBool,
    closed: Notify,
    /// How many watch, for each of whom the bell is rung.
    watchers: AtomicUsize,
    watchers_bell: Notify,
    /// Until then, this server counts as short of time.
    short_until: AtomicInstant,
}

#[derive(Debug)]
struct LinkEntry {
    news: Notify,
    greet: Notify,
    /// The incarnation of the neighbour that greeted last; 0 for none.
    incarnation: AtomicU64,
    state: Mutex<LinkState>,
    lagging: Mutex<Option<Range<Instant>>>,
    traffic: LinkTraffic,
}

/// What went over a link since the server started, in both directions.
#[derive(Debug, Default)]
pub struct LinkTraffic {
    /// Pushes that the neighbour acknowledged, heartbeats included.
    pub batches_sent: Counter,
    /// Reports in those.
    pub reports_sent: Counter,
    /// Calls that got no answer that helps.
    pub calls_failed: Counter,
    /// How long the neighbour took to acknowledge a push.
    pub round_trips: Histogram,
    /// The last of those, in nanoseconds; 0 before the first.
    last_round_trip: AtomicU64,
    /// Pushes of the neighbour that were applied, heartbeats included.
    pub batches_received: Counter,
    /// Reports in those that were new here,
    pub received_newer: Counter,
    /// that were known to the last byte: what the flood's redundancy costs,
    pub received_same: Counter,
    /// and that were older than what was held.
    pub received_older: Counter,
}

impl LinkEntry {
    fn new(now: UnixNanos) -> Self {
        Self {
            news: Notify::new(),
            greet: Notify::new(),
            incarnation: AtomicU64::new(0),
            state: Mutex::new(LinkState::new(now)),
            lagging: Mutex::default(),
            traffic: LinkTraffic::default(),
        }
    }
}

impl LinkState {
    fn new(now: UnixNanos) -> Self {
        Self {
            is_up: false,
            since: now,
            reason: "not yet dialled".to_owned(),
            cursor: 0,
            changes: 0,
        }
    }
}

impl LinkTraffic {
    /// The neighbour acknowledged a push of so many reports after so long.
    pub fn sent(&self, reports: usize, round_trip: Duration) {
        self.batches_sent.add(1);
        self.reports_sent.add(reports as u64);
        self.round_trips.observe(round_trip, 1);
        let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
        self.last_round_trip.store(nanos, Relaxed);
    }

    /// How long the last acknowledged push took.
    pub fn last_round_trip(&self) -> Option<Duration> {
        let nanos = self.last_round_trip.load(Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Reports of the neighbour were merged.
    pub fn received(&self, tally: MergeStats) {
        self.received_newer.add(tally.newer as u64);
        self.received_same.add(tally.duplicate as u64);
        self.received_older.add(tally.stale as u64);
    }
}

/// Whether a link carries reports, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Did the last push succeed?
    pub is_up: bool,
    /// When that became so.
    pub since: UnixNanos,
    /// Why it is down, in words; empty for a link that is up.
    pub reason: String,
    /// The last of this server's numbers that the neighbour acknowledged, in
    /// the incarnation of it that was greeted last.
    pub cursor: u64,
    /// How often it went up or down.
    pub changes: u64,
}

impl LinkTable {
    /// There is a link to be with a neighbour, for which no task runs yet. What
    /// went over an earlier one with it still counts.
    pub(super) fn begin(&self, neighbour: NeighbourId, now: UnixNanos) {
        // Ids are assigned in order.
        while self.notes.get(neighbour.0).is_none() {
            self.notes.push(LinkEntry::new(now));
        }
        let mut state = self.state(neighbour);
        *state = LinkState {
            changes: state.changes,
            ..LinkState::new(now)
        };
    }

    /// The server shuts down: from now on it takes nothing of neighbours, and
    /// that links go down is no news.
    pub fn close(&self) {
        self.is_closing.store(true, Relaxed);
        self.closed.notify_waiters();
    }

    /// Does the server shut down?
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Relaxed)
    }

    /// Resolves when the server shuts down.
    pub async fn closed(&self) {
        // Rung from here on, whenever it is first waited for.
        let closed = self.closed.notified();
        if !self.is_closing() {
            closed.await;
        }
    }

    /// The state of one link.
    pub fn link(&self, neighbour: NeighbourId) -> LinkState {
        self.state(neighbour).clone()
    }

    /// What went over one link.
    pub fn traffic(&self, neighbour: NeighbourId) -> &LinkTraffic {
        &self.note(neighbour).traffic
    }

    /// The link is up. Gives whether it was not before.
    pub fn set_up(&self, neighbour: NeighbourId, now: UnixNanos) -> bool {
        let mut state = self.state(neighbour);
        let changed = !state.is_up;
        if changed {
            state.is_up = true;
            state.since = now;
            state.reason.clear();
            state.changes += 1;
        }
        changed
    }

    /// The link is down for this reason. Gives what it was before.
    pub fn set_down(&self, neighbour: NeighbourId, now: UnixNanos, reason: &str) -> LinkState {
        let mut state = self.state(neighbour);
        let before = state.clone();
        if state.is_up {
            state.is_up = false;
            state.since = now;
            state.changes += 1;
        }
        reason.clone_into(&mut state.reason);
        before
    }

    /// The neighbour has acknowledged all up to `cursor`, and no more.
    pub fn set_cursor(&self, neighbour: NeighbourId, cursor: u64) {
        self.state(neighbour).cursor = cursor;
    }

    /// When the neighbour lags, as far as is known: it kept up, and does so no
    /// more. `None` where it does not lag.
    pub fn set_lagging(&self, neighbour: NeighbourId, time: Option<Range<Instant>>) {
        *lock(&self.note(neighbour).lagging) = time;
    }

    /// This server has not time for all its work: something that was due ran
    /// late.
    pub fn note_overloaded(&self, now: Instant) {
        self.short_until.set(now + SHORT_FOR);
    }

    /// Should clients wait before they report more?
    ///
    /// A server that has not time for all its work would else go on to take
    /// reports as fast as ever, and tell of each of them later than of the one
    /// before. This is not for the sake of a slow neighbour, for whom nobody
    /// waits: both must be true, that a neighbour which kept up lags now, and
    /// that this server is short of time itself.
    pub fn should_backpressure(&self, now: Instant) -> bool {
        let lags = |note: &LinkEntry| {
            let lagging = lock(&note.lagging);
            lagging.as_ref().is_some_and(|time| time.contains(&now))
        };
        now < self.short_until.get() && self.notes.iter().any(|(_, note)| lags(note))
    }

    /// There is something new to send: wakes all links that wait for that, and
    /// all watchers. One that is busy looks again when it is done.
    pub fn notify_changes(&self) {
        for (_, note) in self.notes.iter() {
            note.news.notify_one();
        }
        // Whoever counted itself before it looked into the feed is seen here by
        // all that is in the feed after that: the feed's lock is between.
        if self.watchers.load(Relaxed) > 0 {
            self.watchers_bell.notify_waiters();
        }
    }

    /// Somebody watches from now on, or does no more.
    pub(super) fn count_watcher(&self, comes: bool) {
        match comes {
            true => self.watchers.fetch_add(1, Relaxed),
            false => self.watchers.fetch_sub(1, Relaxed),
        };
    }

    /// Resolves when there may be something new to tell to watchers, from this
    /// call on.
    pub(super) fn news_for_watchers(&self) -> Notified<'_> {
        self.watchers_bell.notified()
    }

    /// Resolves when there may be something new to send.
    pub fn news(&self, neighbour: NeighbourId) -> Notified<'_> {
        self.note(neighbour).news.notified()
    }

    /// A new incarnation of the neighbour has greeted: its link should greet
    /// that one too.
    pub fn ring_greet(&self, neighbour: NeighbourId, incarnation: Incarnation) {
        let note = self.note(neighbour);
        note.incarnation.store(incarnation.get(), Relaxed);
        note.greet.notify_one();
    }

    /// Resolves when another incarnation of the neighbour has greeted than
    /// `greeted`, which is the one that its link has greeted.
    pub async fn new_incarnation(&self, neighbour: NeighbourId, greeted: Option<Incarnation>) {
        let note = self.note(neighbour);
        loop {
            note.greet.notified().await;
            if note.incarnation.load(Relaxed) != greeted.map_or(0, Incarnation::get) {
                return;
            }
        }
    }

    /// Held for a few reads and writes, never across an await.
    fn state(&self, neighbour: NeighbourId) -> MutexGuard<'_, LinkState> {
        lock(&self.note(neighbour).state)
    }

    fn note(&self, NeighbourId(at): NeighbourId) -> &LinkEntry {
        let note = self.notes.get(at);
        note.expect("a link begins before anybody asks for it")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_wait_where_a_neighbour_lags_and_the_server_is_short_of_time() {
        let board = LinkTable::default();
        let start = Instant::now();
        let neighbours = [0, 1].map(NeighbourId);
        for neighbour in neighbours {
            board.begin(neighbour, UnixNanos(0));
        }
        let at = |millis| start + Duration::from_millis(millis);
        let waits = |millis| board.should_backpressure(at(millis));
        assert!(!waits(10));
        board.set_lagging(neighbours[1], Some(at(20)..at(1020)));
        assert!(!waits(30), "the server has time");
        board.note_overloaded(at(10));
        assert_eq!([19, 20, 109, 110].map(waits), [false, true, true, false]);
        board.note_overloaded(at(1000));
        assert_eq!([1019, 1020].map(waits), [true, false]);
        board.set_lagging(neighbours[1], Some(at(1000)..at(2000)));
        assert!(waits(1020));
        board.set_lagging(neighbours[1], None);
        assert!(!waits(1020), "no neighbour lags");
    }
}
