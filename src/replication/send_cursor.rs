//! The send cursor of one neighbour, and its next batch.

use std::ops::ControlFlow;

use crate::model::report::Report;
use crate::model::timestamp::UnixNanos;

use super::feed_reader::read_changes;
use super::replica::Replica;
use super::seen_by::{SeenBy, SenderSlot};
use super::store::StoredReport;
use super::tag::{OriginIndex, Tag};
use super::version_vector::{KnownVector, OriginNumber};
use super::{Incarnation, NeighbourId};

/// Maximum number of reports in one batch. It is part of the protocol: a receiver rejects more.
pub const MAX_BATCH_REPORTS: usize = 10_000;

/// Maximum size of a batch as a message, in bytes. It is part of the protocol: a receiver rejects
/// more.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// Maximum number of changes that one batch considers, so that a long run of reports that the
/// neighbour itself sent does not hold a thread.
const MAX_CONSIDERED_CHANGES: usize = 32 * 1024;

/// A batch under construction.
pub trait BatchBuilder {
    /// Adds a report if the batch then has at most `max_bytes`. Returns `false`, and adds nothing,
    /// if it would be larger, or larger than a message may be.
    fn add(&mut self, report: &Report<'_>, tag: Tag, max_bytes: usize) -> bool;

    /// Returns the size of the added reports, in bytes.
    fn bytes(&self) -> usize;
}

/// The sequence numbers after `from`, up to and including `to`, that a batch covers. A change in
/// this range was sent, skipped, withheld or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The last sequence number that the neighbour acknowledged.
    pub from: u64,
    /// The last sequence number that was considered.
    pub to: u64,
    /// The number of reports in the batch.
    pub reports: usize,
    /// The size of the reports, in bytes.
    pub bytes: usize,
    /// Whether a limit left out changes that come next.
    pub is_cut: bool,
    /// Whether the batch was filled to the end of the feed: with the batches before it, the
    /// neighbour then has the newest reports of one moment.
    pub is_end: bool,
}

/// One neighbour's cursor into this server's change feed.
///
/// Invariants: only a greeting or an acknowledgement moves `cursor`; `cursor <= scanned`; no change
/// between the two needs to be sent to the greeted incarnation.
#[derive(Debug)]
pub struct SendCursor {
    neighbour: NeighbourId,
    greeted: Option<Incarnation>,
    cursor: u64,
    scanned: u64,
    max_reports: usize,
    /// What the greeted incarnation has, by its own account.
    known: KnownVector,
}

impl SendCursor {
    /// Creates a cursor, which needs a greeting before its first batch. Batches hold at most
    /// `max_reports`, clamped to 1 to [`MAX_BATCH_REPORTS`].
    pub fn new(neighbour: NeighbourId, max_reports: usize) -> Self {
        Self {
            neighbour,
            greeted: None,
            cursor: 0,
            scanned: 0,
            max_reports: max_reports.clamp(1, MAX_BATCH_REPORTS),
            known: KnownVector::default(),
        }
    }

    /// Returns the neighbour.
    pub fn neighbour(&self) -> NeighbourId {
        self.neighbour
    }

    /// Returns the neighbour's incarnation that was greeted last.
    pub fn greeted(&self) -> Option<Incarnation> {
        self.greeted
    }

    /// Returns the last sequence number that the neighbour acknowledged.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Returns the last sequence number up to which the neighbour needs nothing.
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    /// Returns whether the neighbour has everything that it needs.
    pub fn is_at_end(&self, replica: &Replica) -> bool {
        self.scanned >= replica.store().last()
    }

    /// Moves the cursor to the watermark that the neighbour returned to a greeting.
    pub fn start_at(&mut self, incarnation: Incarnation, applied: u64) {
        self.cursor = applied;
        self.scanned = self.cursor;
        self.greeted = Some(incarnation);
        self.known = KnownVector::default();
    }

    /// Records entries of the version vector of the greeted incarnation.
    pub fn learn(&mut self, replica: &Replica, vector: &[OriginNumber]) {
        replica.resolve(vector, |origin, number| self.known.raise(origin, number));
    }

    /// Fills `batch` with the reports that the neighbour needs next, up to `max_bytes`: at least
    /// one report, whatever its size. An empty batch means that it needs none of the considered
    /// changes;
    /// [`is_at_end`](Self::is_at_end) returns whether those were all.
    ///
    /// A report that has been expired for the purge delay at `now` is withheld, since the neighbour
    /// may have purged it. `now` is the earlier of the clocks of both servers, so that one wrong
    /// clock withholds nothing.
    ///
    /// Only changes up to the sequence number `through` are considered.
    pub fn fill(
        &mut self,
        replica: &Replica,
        now: UnixNanos,
        (max_bytes, through): (usize, u64),
        batch: &mut impl BatchBuilder,
    ) -> Span {
        let slot = self
            .greeted
            .and_then(|i| replica.sender_slot(self.neighbour, i));
        let filler = BatchFiller {
            replica,
            now,
            already_seen: slot.as_ref().map_or(SeenBy::default(), SenderSlot::bit),
            known: &self.known,
            own: replica.own_origin(),
            delivered: replica.delivered(),
            max_reports: self.max_reports,
            max_bytes,
        };
        let filled = filler.fill((self.scanned, through), batch);
        if filled.reports == 0 {
            self.scanned = filled.to;
        }
        Span {
            from: self.cursor,
            bytes: batch.bytes(),
            ..filled
        }
    }

    /// Records the acknowledgement of a push: the neighbour has applied everything through
    /// `applied`.
    pub fn acknowledged(&mut self, applied: u64) {
        // It may have applied more than this push: an earlier push whose acknowledgement was lost.
        self.cursor = self.cursor.max(applied);
        self.scanned = self.scanned.max(self.cursor);
    }
}

/// Parameters for filling a batch.
struct BatchFiller<'a> {
    replica: &'a Replica,
    now: UnixNanos,
    already_seen: SeenBy,
    known: &'a KnownVector,
    own: OriginIndex,
    delivered: u64,
    max_reports: usize,
    max_bytes: usize,
}

impl BatchFiller<'_> {
    /// Fills a batch with changes after `after`, up to `through`. Returns its span, except for
    /// `from` and `bytes`.
    fn fill(&self, (after, through): (u64, u64), batch: &mut impl BatchBuilder) -> Span {
        let (mut reports, mut is_cut) = (0, false);
        let store = self.replica.store();
        let (changes, limit) = ((after, through), MAX_CONSIDERED_CHANGES);
        let (to, is_end) = read_changes(store, changes, limit, |stored| {
            if self.has(stored) || self.is_withheld(stored) {
                return ControlFlow::Continue(());
            }
            let max_bytes = if reports == 0 {
                usize::MAX
            } else {
                self.max_bytes
            };
            let mut add = || batch.add(&stored.report, stored.tag(self.own), max_bytes);
            is_cut = reports == self.max_reports || !add();
            if is_cut {
                return ControlFlow::Break(());
            }
            reports += 1;
            ControlFlow::Continue(())
        });
        Span {
            from: after,
            to,
            reports,
            bytes: 0,
            is_cut,
            is_end,
        }
    }

    /// Returns whether the neighbour has a report, as far as this server knows.
    fn has(&self, stored: &StoredReport<'_>) -> bool {
        let tag = stored.tag(self.own);
        // What the vector says of this server's own reports counts only for those that some
        // neighbour acknowledged.
        let is_known = || tag.origin() != self.own || tag.number() <= self.delivered;
        stored.seen_by.intersects(self.already_seen) || self.known.covers(tag) && is_known()
    }

    fn is_withheld(&self, stored: &StoredReport<'_>) -> bool {
        let time = stored.report.order_time();
        self.replica.is_withheld(time, self.now)
    }
}
