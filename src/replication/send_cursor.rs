//! The cursor of one neighbour, and its next batch.

use std::ops::ControlFlow;

use crate::model::report::Report;

use super::feed_reader::walk;
use super::replica::Replica;
use super::seen_by::{SeenBy, SenderSlot};
use super::{Incarnation, NeighbourId};

/// Most reports in one batch: part of the protocol, since a receiver refuses
/// more.
pub const MAX_BATCH_REPORTS: usize = 10_000;

/// How large the first batches may be, until the link has shown that it bears
/// more.
const FIRST_ALLOWANCE: usize = 1024;

/// How many changes one batch looks at, at most, so that a long run of reports
/// that the neighbour sent itself does not hold a thread.
const MAX_CONSIDERED: usize = 32 * 1024;

/// Where a batch is put together.
pub trait Batch {
    /// Takes one more report; `false` if it does not fit, and was not taken.
    fn add(&mut self, report: &Report<'_>) -> bool;
}

/// A batch covers the numbers behind `from`, up to and with `to`: whether a
/// change was sent, skipped or replaced, it is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The last number that the neighbour acknowledged.
    pub from: u64,
    /// The last number that was considered.
    pub to: u64,
    /// How many reports the batch holds.
    pub reports: usize,
}

/// One neighbour's cursor into this server's feed.
///
/// Invariants: `cursor` moves only by a greeting or an acknowledgement;
/// `cursor <= scanned`; everything between the two is known to need no sending
/// to the incarnation that was greeted.
#[derive(Debug)]
pub struct SendCursor {
    neighbour: NeighbourId,
    greeted: Option<Incarnation>,
    cursor: u64,
    scanned: u64,
    most: usize,
    allowance: usize,
}

impl SendCursor {
    /// A cursor that must be greeted before it is used. Batches hold at most
    /// `most_reports`, which is cut to 1 to [`MAX_BATCH_REPORTS`].
    pub fn new(neighbour: NeighbourId, most_reports: usize) -> Self {
        let most = most_reports.clamp(1, MAX_BATCH_REPORTS);
        Self {
            neighbour,
            greeted: None,
            cursor: 0,
            scanned: 0,
            most,
            allowance: most.min(FIRST_ALLOWANCE),
        }
    }

    /// Which neighbour.
    pub fn neighbour(&self) -> NeighbourId {
        self.neighbour
    }

    /// The neighbour's incarnation that was greeted last.
    pub fn greeted(&self) -> Option<Incarnation> {
        self.greeted
    }

    /// The last number that the neighbour acknowledged.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Does the neighbour have all that it needs?
    pub fn is_at_end(&self, replica: &Replica) -> bool {
        self.scanned >= replica.store().last()
    }

    /// The neighbour answered a greeting: the cursor starts where it says.
    pub fn welcomed(&mut self, replica: &Replica, incarnation: Incarnation, applied: u64) {
        // A number that was never given can only be a mistake of its, and
        // starting over costs nothing but time.
        let known = applied <= replica.store().last();
        self.cursor = if known { applied } else { 0 };
        self.scanned = self.cursor;
        self.greeted = Some(incarnation);
    }

    /// Fills `batch` with what the neighbour needs next. An empty batch says
    /// that it needs nothing of the changes that were looked at; whether they
    /// were all, [`is_at_end`](Self::is_at_end) tells.
    pub fn fill(&mut self, replica: &Replica, batch: &mut impl Batch) -> Span {
        let lease = self
            .greeted
            .and_then(|i| replica.lease_of(self.neighbour, i));
        let filling = Filling {
            replica,
            has: lease.as_ref().map_or(SeenBy::default(), SenderSlot::heard),
            most: self.allowance,
        };
        let (to, reports) = filling.fill(self.scanned, batch);
        if reports == 0 {
            self.scanned = to;
        }
        Span {
            from: self.cursor,
            to,
            reports,
        }
    }

    /// The neighbour answered a push: all up to `applied` is there.
    pub fn acknowledged(&mut self, replica: &Replica, span: Span, applied: u64) {
        // It may have applied more than this push: one before whose answer was
        // lost. It can not have applied what was never sent.
        let applied = if applied <= replica.store().last() {
            applied
        } else {
            span.to
        };
        self.cursor = self.cursor.max(applied);
        self.scanned = self.scanned.max(self.cursor);
    }

    /// Does this batch hold as many reports as it might?
    pub fn is_full(&self, span: Span) -> bool {
        span.reports >= self.allowance
    }

    /// The link bore a push with ease: if that was as large as it might be, the
    /// next may be larger. A small one tells nothing of larger ones.
    pub fn grow(&mut self, span: Span) {
        if self.is_full(span) {
            self.allowance = (self.allowance * 2).min(self.most);
        }
    }

    /// A push ended without an answer: the next one is half as large, so that a
    /// slow link always gets some batch across. An empty one was not too large.
    pub fn unanswered(&mut self, span: Span) {
        if span.reports > 0 {
            self.allowance = (self.allowance.min(span.reports) / 2).max(1);
        }
    }
}

/// A batch being filled.
struct Filling<'a> {
    replica: &'a Replica,
    has: SeenBy,
    most: usize,
}

impl Filling<'_> {
    /// Gives the last number that was dealt with, and how many reports went
    /// into the batch.
    fn fill(&self, after: u64, batch: &mut impl Batch) -> (u64, usize) {
        let mut reports = 0;
        let store = self.replica.store();
        let (to, _) = walk(store, after, MAX_CONSIDERED, |_, held| {
            if held.heard.includes(self.has) {
                return ControlFlow::Continue(());
            }
            if reports == self.most || !batch.add(&held.report) {
                return ControlFlow::Break(());
            }
            reports += 1;
            ControlFlow::Continue(())
        });
        (to, reports)
    }
}
