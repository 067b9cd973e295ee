//! A watch of the feed, for an operator or the web page: it reads as a neighbour's link does, at its
//! own pace.
//!
//! A batch is read when the batch before it has been passed to the transport. A slow watch thus
//! costs a position in the feed and two batches, and of a client that reports again meanwhile it
//! sends only the newest report. A watch that is far behind, or begins with all reports, reads on a
//! thread that serves no client.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::model::report::Report;
use crate::model::timestamp::UnixNanos;
use crate::proto::KnownReport;
use crate::replication::feed_reader::FeedReader;
use crate::replication::store::StoredReport;

use super::known_report::known_report;
use super::{ChangeSubscription, Gateway};

/// Maximum number of reports in one batch.
const MAX_REPORTS: usize = 1000;

/// Maximum size of the reports in one batch, exceeded by at most one report.
const MAX_BYTES: usize = 256 * 1024;

/// Maximum number of changes that one read checks.
const MAX_CHANGES_PER_READ: usize = 4096;

/// Maximum number of changes that a watch reads on a thread that serves clients. This takes a
/// fraction of a millisecond.
const MAX_CHANGES_INLINE: u64 = 256;

/// Time between two batches of a watch that is up to date. Changes gather meanwhile; the first
/// after a silence is returned at once.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);

/// Interval of batches without reports, returned if changes pass but none matches the filter.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A function that returns `true` for the reports that a watch wants.
pub type ReportFilter = Arc<dyn Fn(&Report<'_>) -> bool + Send + Sync>;

/// The position in the feed at which a watch begins.
#[derive(Clone, Copy, Debug)]
pub struct WatchStart {
    /// The watch reads the changes after this sequence number.
    pub position: u64,
    /// Replaced changes count if they are after this sequence number.
    pub replaced_after: u64,
}

impl WatchStart {
    /// Begins after a sequence number, and counts every replaced change from there on.
    pub fn after(position: u64) -> Self {
        Self {
            position,
            replaced_after: position,
        }
    }
}

/// A watch, and its progress.
pub struct FeedWatch {
    gateway: Arc<Gateway>,
    subscription: ChangeSubscription,
    filter: ReportFilter,
    reader: FeedReader,
    replaced_after: u64,
    returned_at: Instant,
    /// True if the last batch reached the end of the feed.
    is_up_to_date: bool,
    /// True if the next batch waits until changes have gathered.
    is_gathering: bool,
}

/// The next changes of a watch.
#[derive(Debug, Default)]
pub struct WatchBatch {
    /// Reports that match the filter, in the order of their changes.
    pub reports: Vec<KnownReport>,
    /// Number of changes, of all clients, that were replaced before they could be read.
    pub replaced: u64,
    /// The last sequence number that was processed.
    pub sequence: u64,
    /// True if that was the end of the feed.
    pub is_end: bool,
    bytes: usize,
}

impl WatchBatch {
    fn is_full(&self) -> bool {
        self.reports.len() >= MAX_REPORTS || self.bytes >= MAX_BYTES
    }

    fn add(&mut self, report: KnownReport) {
        self.bytes += report.encoded_len();
        self.reports.push(report);
    }
}

impl FeedWatch {
    /// Begins a watch of the reports that `filter` wants.
    pub fn new(gateway: &Arc<Gateway>, filter: ReportFilter, start: WatchStart) -> Self {
        Self {
            subscription: gateway.subscribe(),
            gateway: gateway.clone(),
            filter,
            reader: FeedReader::after(start.position),
            replaced_after: start.replaced_after,
            returned_at: Instant::now(),
            is_up_to_date: false,
            is_gathering: false,
        }
    }

    /// Waits for the next batch. The first one returns even if it is empty. Not cancel safe: the
    /// reports that were read so far are lost.
    ///
    /// # Errors
    ///
    /// A read panicked on another thread.
    pub async fn next(&mut self) -> Result<WatchBatch, JoinError> {
        if self.is_gathering {
            sleep(BATCH_INTERVAL).await;
        }
        let mut batch = WatchBatch::default();
        loop {
            // Created before the feed is read, so that no change in between is missed.
            let changed = self.subscription.changed();
            let before = self.reader.position();
            let reader;
            (reader, batch) = self.read(batch).await?;
            self.reader = reader;
            let has_progress = batch.sequence > before || batch.replaced > 0;
            let is_due = has_progress && self.returned_at.elapsed() >= PROGRESS_INTERVAL;
            let has_content = !batch.reports.is_empty() || !self.is_up_to_date;
            if batch.is_full() || is_due || batch.is_end && has_content {
                self.returned_at = Instant::now();
                self.is_up_to_date = batch.is_end;
                self.is_gathering = batch.is_end;
                return Ok(batch);
            }
            if batch.is_end {
                changed.await;
            }
        }
    }

    /// Reads the next changes into the batch. Returns also the new position.
    async fn read(&self, mut batch: WatchBatch) -> Result<(FeedReader, WatchBatch), JoinError> {
        let (gateway, filter) = (self.gateway.clone(), self.filter.clone());
        let (mut reader, replaced_after) = (self.reader, self.replaced_after);
        let unread = gateway.replica().store().last() - reader.position();
        let read = move || {
            read(&gateway, &mut reader, (&filter, replaced_after), &mut batch);
            (reader, batch)
        };
        if unread <= MAX_CHANGES_INLINE {
            Ok(read())
        } else {
            spawn_blocking(read).await
        }
    }
}

impl fmt::Debug for FeedWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeedWatch({})", self.reader.position())
    }
}

/// Reads the next changes into the batch.
fn read(
    gateway: &Gateway,
    reader: &mut FeedReader,
    (filter, replaced_after): (&ReportFilter, u64),
    batch: &mut WatchBatch,
) {
    let now = gateway.clock().now();
    let (before, mut present) = (reader.position(), 0);
    let store = gateway.replica().store();
    batch.is_end = reader.read(store, MAX_CHANGES_PER_READ, |stored| {
        if batch.is_full() {
            return ControlFlow::Break(());
        }
        present += u64::from(stored.number > replaced_after);
        if is_wanted(gateway, filter, stored, now) {
            batch.add(known_report(gateway.replica(), stored));
        }
        ControlFlow::Continue(())
    });
    batch.sequence = reader.position();
    let passed = batch.sequence.max(replaced_after) - before.max(replaced_after);
    batch.replaced += passed - present;
}

fn is_wanted(
    gateway: &Gateway,
    filter: &ReportFilter,
    stored: &StoredReport<'_>,
    now: UnixNanos,
) -> bool {
    filter(&stored.report)
        && !gateway
            .replica()
            .is_expired(stored.report.order_time(), now)
}
