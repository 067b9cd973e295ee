//! The state of a server's links, shared by all tasks of the server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::lock::lock;
use crate::model::timestamp::UnixNanos;
use crate::replication::feed_watermark::FeedWatermark;
use crate::replication::neighbour_clock::ClockOffset;
use crate::replication::{Incarnation, NeighbourId};

use super::counters::LinkTraffic;
use super::incoming::{DuplicateProcesses, IncomingCalls};

/// The links of a server: their state, their traffic, and what wakes their tasks. The entry of a
/// removed link stays, for the next link with the same neighbour.
#[derive(Debug, Default)]
pub struct LinkTable {
    /// By the IDs of the neighbours.
    entries: boxcar::Vec<LinkEntry>,
    /// Number of subscribers, which `changes` notifies.
    subscribers: AtomicUsize,
    changes: Notify,
    /// What any neighbour has acknowledged of this server's feed.
    acknowledged: watch::Sender<FeedWatermark>,
}

#[derive(Debug)]
struct LinkEntry {
    changes: Notify,
    greetings: Notify,
    /// The incarnation of the neighbour that greeted last; 0 for none.
    incarnation: AtomicU64,
    state: Mutex<LinkState>,
    incoming: Mutex<Incoming>,
    traffic: LinkTraffic,
}

/// The calls of a neighbour.
#[derive(Debug)]
struct Incoming {
    /// Time at which the link began.
    since: Instant,
    calls: IncomingCalls,
}

/// What arrives from a neighbour, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingState {
    /// Time since the last greeting or push; since the link began, if there was none.
    pub silence: Duration,
    /// The incarnation of that call; `None` if there was none since the link began.
    pub incarnation: Option<u64>,
    /// The processes that run under the neighbour's name, if there are several.
    pub duplicates: Option<DuplicateProcesses>,
}

impl LinkEntry {
    fn new(now: UnixNanos) -> Self {
        Self {
            changes: Notify::new(),
            greetings: Notify::new(),
            incarnation: AtomicU64::new(0),
            state: Mutex::new(LinkState::new(now)),
            incoming: Mutex::new(Incoming {
                since: Instant::now(),
                calls: IncomingCalls::default(),
            }),
            traffic: LinkTraffic::default(),
        }
    }
}

/// The state of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// True if the last push succeeded.
    pub is_up: bool,
    /// Time since which the link is up or down.
    pub since: UnixNanos,
    /// Reason why the link is down; empty if it is up.
    pub reason: String,
    /// The last sequence number of this server that the neighbour acknowledged, in the incarnation
    /// that was greeted last.
    pub cursor: u64,
    /// Time of the last acknowledged push with reports; `None` before the first.
    pub carried_at: Option<Instant>,
    /// Number of times that the link went up or down.
    pub changes: u64,
    /// The neighbour's clock compared with this server's, if it is known and the link is up.
    pub clock_offset: Option<ClockOffset>,
}

impl LinkState {
    fn new(now: UnixNanos) -> Self {
        Self {
            is_up: false,
            since: now,
            reason: "not yet dialled".to_owned(),
            cursor: 0,
            carried_at: None,
            changes: 0,
            clock_offset: None,
        }
    }
}

impl LinkTable {
    /// Begins a link with a neighbour, for which no task runs yet. Keeps the counters of an earlier
    /// link with it, which goes down if it was up.
    pub(super) fn begin(&self, neighbour: NeighbourId, now: UnixNanos) {
        // IDs are assigned in order.
        while self.entries.get(neighbour.0).is_none() {
            self.entries.push(LinkEntry::new(now));
        }
        lock(&self.entry(neighbour).incoming).since = Instant::now();
        let mut state = self.lock_state(neighbour);
        *state = LinkState {
            changes: state.changes + u64::from(state.is_up),
            ..LinkState::new(now)
        };
    }

    /// Returns the state of a link.
    pub fn state(&self, neighbour: NeighbourId) -> LinkState {
        self.lock_state(neighbour).clone()
    }

    /// Returns the traffic of a link.
    pub fn traffic(&self, neighbour: NeighbourId) -> &LinkTraffic {
        &self.entry(neighbour).traffic
    }

    /// Marks a link as up, after the neighbour acknowledged a push of some `reports` and everything
    /// through `cursor`. `clock_offset` is how far its clock is off, if that is known. Returns
    /// `true` if the link was down.
    pub fn set_up(
        &self,
        neighbour: NeighbourId,
        now: UnixNanos,
        cursor: u64,
        reports: usize,
        clock_offset: Option<ClockOffset>,
    ) -> bool {
        let mut state = self.lock_state(neighbour);
        state.cursor = cursor;
        state.clock_offset = clock_offset;
        if reports > 0 {
            state.carried_at = Some(Instant::now());
        }
        let is_changed = !state.is_up;
        if is_changed {
            state.is_up = true;
            state.since = now;
            state.reason.clear();
            state.changes += 1;
        }
        is_changed
    }

    /// Marks a link as down for `reason`. Returns its previous state.
    pub fn set_down(&self, neighbour: NeighbourId, now: UnixNanos, reason: &str) -> LinkState {
        let mut state = self.lock_state(neighbour);
        let previous = state.clone();
        if state.is_up {
            state.is_up = false;
            state.since = now;
            state.changes += 1;
        }
        reason.clone_into(&mut state.reason);
        state.clock_offset = None;
        previous
    }

    /// Sets how far the neighbour's clock is off; `None` if that is unknown.
    pub fn set_clock_offset(&self, neighbour: NeighbourId, offset: Option<ClockOffset>) {
        self.lock_state(neighbour).clock_offset = offset;
    }

    /// Sets the last sequence number that the neighbour acknowledged.
    pub fn set_cursor(&self, neighbour: NeighbourId, cursor: u64) {
        self.lock_state(neighbour).cursor = cursor;
    }

    /// Records an accepted greeting or push of a neighbour's incarnation, from an address that may
    /// be unknown. Returns the processes that run under the neighbour's name, if there are several.
    pub fn record_incoming(
        &self,
        neighbour: NeighbourId,
        incarnation: u64,
        from: Option<SocketAddr>,
    ) -> Option<DuplicateProcesses> {
        let now = Instant::now();
        // The lock is held for a few reads and writes.
        let mut incoming = lock(&self.entry(neighbour).incoming);
        incoming.calls.record(incarnation, from, now);
        incoming.calls.duplicates(now)
    }

    /// Returns what arrives from a neighbour.
    pub fn incoming(&self, neighbour: NeighbourId) -> IncomingState {
        let now = Instant::now();
        let incoming = lock(&self.entry(neighbour).incoming);
        let last = incoming.calls.last();
        let last = last.filter(|&(at, _)| at >= incoming.since);
        IncomingState {
            silence: now - last.map_or(incoming.since, |(at, _)| at),
            incarnation: last.map(|(_, incarnation)| incarnation),
            duplicates: incoming.calls.duplicates(now),
        }
    }

    /// Returns a receiver of what any neighbour has acknowledged of this server's feed, in any of
    /// its incarnations. It is notified when that grows.
    pub(super) fn acknowledged(&self) -> watch::Receiver<FeedWatermark> {
        self.acknowledged.subscribe()
    }

    /// Forgets what neighbours have acknowledged: some of it was another process's, and everything
    /// is sent again.
    pub(super) fn forget_acknowledged(&self) {
        self.acknowledged.send_replace(FeedWatermark::default());
    }

    /// Records the position in the feed through which a neighbour has acknowledged every report, or
    /// what had replaced it.
    pub fn note_acknowledged(&self, position: u64) {
        self.acknowledged
            .send_if_modified(|watermark| watermark.raise(position));
    }

    /// Wakes all idle links and all subscribers, since the feed has changed. A link that is busy
    /// checks the feed again when it is done.
    pub fn notify_changes(&self) {
        for (_, entry) in self.entries.iter() {
            entry.changes.notify_one();
        }
        // A subscriber adds itself before it reads the feed. The feed's lock orders that before any
        // later change, so a subscriber that missed the change is seen here.
        if self.subscribers.load(Relaxed) > 0 {
            self.changes.notify_waiters();
        }
    }

    pub(super) fn add_subscriber(&self) {
        self.subscribers.fetch_add(1, Relaxed);
    }

    pub(super) fn remove_subscriber(&self) {
        self.subscribers.fetch_sub(1, Relaxed);
    }

    /// Resolves when the feed may have changed after this call.
    pub(super) fn subscribers_notified(&self) -> Notified<'_> {
        self.changes.notified()
    }

    /// Resolves when there may be changes for a link to send.
    pub fn changed(&self, neighbour: NeighbourId) -> Notified<'_> {
        self.entry(neighbour).changes.notified()
    }

    /// Records that a new incarnation of the neighbour has greeted, so that this server's link
    /// greets it too.
    pub fn notify_greeting(&self, neighbour: NeighbourId, incarnation: Incarnation) {
        let entry = self.entry(neighbour);
        entry.incarnation.store(incarnation.get(), Relaxed);
        entry.greetings.notify_one();
    }

    /// Resolves when a new incarnation of the neighbour has greeted, and returns it.
    pub async fn greeting(&self, neighbour: NeighbourId) -> Incarnation {
        let entry = self.entry(neighbour);
        loop {
            entry.greetings.notified().await;
            if let Some(incarnation) = Incarnation::new(entry.incarnation.load(Relaxed)) {
                return incarnation;
            }
        }
    }

    /// The lock is held for a few reads and writes, never across an await.
    fn lock_state(&self, neighbour: NeighbourId) -> MutexGuard<'_, LinkState> {
        lock(&self.entry(neighbour).state)
    }

    fn entry(&self, NeighbourId(at): NeighbourId) -> &LinkEntry {
        let entry = self.entries.get(at);
        entry.expect("a neighbour's ID is used after its link has begun")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_neighbour_acknowledged_counts_until_it_is_forgotten() {
        let links = LinkTable::default();
        let [one, other] = [0, 1].map(NeighbourId);
        links.begin(one, UnixNanos(1));
        links.begin(other, UnixNanos(1));
        let acknowledged = || links.acknowledged().borrow().sequence();
        links.note_acknowledged(7);
        links.note_acknowledged(5);
        assert_eq!(acknowledged(), 7);
        // A cursor tells nothing of reports that were replaced.
        links.set_up(one, UnixNanos(2), 9, 1, None);
        links.set_cursor(other, 0);
        assert_eq!(acknowledged(), 7);
        links.forget_acknowledged();
        assert_eq!(acknowledged(), 0);
        links.note_acknowledged(6);
        assert_eq!(acknowledged(), 6);
    }

    #[test]
    fn a_link_that_begins_again_goes_down_first() {
        let (links, neighbour) = (LinkTable::default(), NeighbourId(0));
        let state = || {
            let state = links.state(neighbour);
            (state.is_up, state.changes)
        };
        links.begin(neighbour, UnixNanos(1));
        links.begin(neighbour, UnixNanos(2));
        assert_eq!(state(), (false, 0));
        links.set_up(neighbour, UnixNanos(3), 0, 0, None);
        assert_eq!(state(), (true, 1));
        links.begin(neighbour, UnixNanos(4));
        assert_eq!(state(), (false, 2));
    }
}
