//! The send cursor of one neighbour, and its next batch.

use std::ops::ControlFlow;

use crate::model::report::Report;
use crate::model::timestamp::UnixNanos;

use super::feed_reader::read_changes;
use super::replica::Replica;
use super::seen_by::{SeenBy, SenderSlot};
use super::{Incarnation, NeighbourId};

/// Maximum number of reports in one batch. It is part of the protocol: a receiver rejects more.
pub const MAX_BATCH_REPORTS: usize = 10_000;

/// Maximum number of reports in a batch until the link has acknowledged a full one.
const INITIAL_ALLOWANCE: usize = 1024;

/// Maximum number of changes that one batch considers, so that a long run of reports that the
/// neighbour itself sent does not hold a thread.
const MAX_CONSIDERED_CHANGES: usize = 32 * 1024;

/// A batch under construction.
pub trait BatchBuilder {
    /// Adds a report; returns `false`, and adds nothing, if it does not fit.
    fn add(&mut self, report: &Report<'_>) -> bool;
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
    allowance: usize,
}

impl SendCursor {
    /// Creates a cursor, which needs a greeting before its first batch. Batches hold at most
    /// `max_reports`, clamped to 1 to [`MAX_BATCH_REPORTS`].
    pub fn new(neighbour: NeighbourId, max_reports: usize) -> Self {
        let max_reports = max_reports.clamp(1, MAX_BATCH_REPORTS);
        Self {
            neighbour,
            greeted: None,
            cursor: 0,
            scanned: 0,
            max_reports,
            allowance: max_reports.min(INITIAL_ALLOWANCE),
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

    /// Returns whether the neighbour has everything that it needs.
    pub fn is_at_end(&self, replica: &Replica) -> bool {
        self.scanned >= replica.store().last()
    }

    /// Moves the cursor to the watermark that the neighbour returned to a greeting.
    pub fn start_at(&mut self, replica: &Replica, incarnation: Incarnation, applied: u64) {
        // A number that this server never assigned is the neighbour's mistake; starting over costs
        // only time.
        let known = applied <= replica.store().last();
        self.cursor = if known { applied } else { 0 };
        self.scanned = self.cursor;
        self.greeted = Some(incarnation);
    }

    /// Fills `batch` with the reports that the neighbour needs next. An empty batch means that it
    /// needs none of the considered changes; [`is_at_end`](Self::is_at_end) returns whether those
    /// were all.
    ///
    /// A report that has been expired for the purge delay at `now` is withheld, since the neighbour
    /// may have purged it. `now` is the earlier of the clocks of both servers, so that one wrong
    /// clock withholds nothing.
    pub fn fill(
        &mut self,
        replica: &Replica,
        now: UnixNanos,
        batch: &mut impl BatchBuilder,
    ) -> Span {
        let slot = self
            .greeted
            .and_then(|i| replica.sender_slot(self.neighbour, i));
        let filler = BatchFiller {
            replica,
            now,
            already_seen: slot.as_ref().map_or(SeenBy::default(), SenderSlot::bit),
            max_reports: self.allowance,
        };
        let (to, reports) = filler.fill(self.scanned, batch);
        if reports == 0 {
            self.scanned = to;
        }
        Span {
            from: self.cursor,
            to,
            reports,
        }
    }

    /// Records the acknowledgement of a push: the neighbour has applied everything through
    /// `applied`.
    pub fn acknowledged(&mut self, replica: &Replica, span: Span, applied: u64) {
        // It may have applied more than this push: an earlier push whose acknowledgement was lost.
        // It cannot have applied what was never sent.
        let applied = if applied <= replica.store().last() {
            applied
        } else {
            span.to
        };
        self.cursor = self.cursor.max(applied);
        self.scanned = self.scanned.max(self.cursor);
    }

    /// Returns whether this batch holds the maximum number of reports.
    pub fn is_full(&self, span: Span) -> bool {
        span.reports >= self.allowance
    }

    /// Doubles the maximum batch size after a push that was acknowledged in good time, if its batch
    /// was full. A smaller batch is no evidence for larger ones.
    pub fn grow(&mut self, span: Span) {
        if self.is_full(span) {
            self.allowance = (self.allowance * 2).min(self.max_reports);
        }
    }

    /// Halves the maximum batch size after a push without an acknowledgement, so that a slow link
    /// always makes progress. An empty batch was not too large.
    pub fn shrink(&mut self, span: Span) {
        if span.reports > 0 {
            self.allowance = (self.allowance.min(span.reports) / 2).max(1);
        }
    }
}

/// Parameters for filling a batch.
struct BatchFiller<'a> {
    replica: &'a Replica,
    now: UnixNanos,
    already_seen: SeenBy,
    max_reports: usize,
}

impl BatchFiller<'_> {
    /// Returns the last sequence number that was processed and the number of reports in the batch.
    fn fill(&self, after: u64, batch: &mut impl BatchBuilder) -> (u64, usize) {
        let mut reports = 0;
        let store = self.replica.store();
        let (to, _) = read_changes(store, after, MAX_CONSIDERED_CHANGES, |_, stored| {
            let is_withheld = || {
                self.replica
                    .is_withheld(stored.report.order_time(), self.now)
            };
            if stored.seen_by.intersects(self.already_seen) || is_withheld() {
                return ControlFlow::Continue(());
            }
            if reports == self.max_reports || !batch.add(&stored.report) {
                return ControlFlow::Break(());
            }
            reports += 1;
            ControlFlow::Continue(())
        });
        (to, reports)
    }
}
