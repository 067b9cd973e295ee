//! A watch: it reads the feed as a neighbour's link does, at its own pace.
//!
//! A batch is read when the batch before it has been passed to the transport. A slow watch thus
//! costs a position in the feed and two batches, and of a client that reports again meanwhile it
//! sends only the newest report. A watch that is far behind, or begins with all reports, reads on a
//! thread that serves no client.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::gateway::{ChangeSubscription, Gateway};
use crate::model::timestamp::UnixNanos;
use crate::proto::{KnownReport, WatchResponse};
use crate::replication::feed_reader::FeedReader;
use crate::replication::store::StoredReport;

use super::filter::WatchFilter;
use super::wire::{known_report, panicked};

/// Maximum number of reports in one response.
const MAX_REPORTS: usize = 1000;

/// Maximum size of the reports in one response, exceeded by at most one report.
const MAX_BYTES: usize = 256 * 1024;

/// Maximum number of changes that one read checks.
const MAX_CHANGES_PER_READ: usize = 4096;

/// Maximum number of changes that a watch reads on a thread that serves clients. This takes a
/// fraction of a millisecond.
const MAX_CHANGES_INLINE: u64 = 256;

/// Time between two responses of a watch that is up to date. Changes gather meanwhile; the first
/// after a silence is sent at once.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);

/// Interval of responses without reports, sent if changes pass but none matches the filter.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// An item of the stream of responses.
pub(super) type WatchResult = Result<WatchResponse, Status>;

/// The position in the feed at which a watch begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartPosition {
    /// The watch reads the changes after this sequence number.
    pub(super) position: u64,
    /// Replaced changes count if they are after this sequence number.
    pub(super) replaced_after: u64,
}

/// A watch, and its progress.
pub(super) struct WatchStream {
    gateway: Arc<Gateway>,
    subscription: ChangeSubscription,
    filter: Arc<WatchFilter>,
    reader: FeedReader,
    replaced_after: u64,
    responded_at: Instant,
    /// True if the last response reached the end of the feed.
    is_up_to_date: bool,
    _permit: OwnedSemaphorePermit,
}

/// A response in preparation.
#[derive(Default)]
struct WatchBatch {
    reports: Vec<KnownReport>,
    bytes: usize,
    replaced: u64,
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

impl WatchStream {
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        filter: WatchFilter,
        start: StartPosition,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            subscription: gateway.subscribe(),
            gateway: gateway.clone(),
            filter: Arc::new(filter),
            reader: FeedReader::after(start.position),
            replaced_after: start.replaced_after,
            responded_at: Instant::now(),
            is_up_to_date: false,
            _permit: permit,
        }
    }

    /// Sends responses until the caller cancels or the server shuts down.
    pub(super) async fn run(mut self, responses: mpsc::Sender<WatchResult>) {
        let gateway = self.gateway.clone();
        tokio::select! {
            () = self.send_all(&responses) => {}
            () = gateway.shutdown().drain().cancelled() => {
                let _ = responses.send(Err(shutting_down())).await;
            }
        }
    }

    async fn send_all(&mut self, responses: &mpsc::Sender<WatchResult>) {
        while let Ok(permit) = responses.reserve().await {
            let response = tokio::select! {
                response = self.next() => response,
                () = responses.closed() => return,
            };
            let is_last = response.is_err();
            permit.send(response);
            if is_last {
                return;
            }
            if self.is_up_to_date {
                sleep(BATCH_INTERVAL).await;
            }
        }
    }

    /// Waits for the next response.
    async fn next(&mut self) -> WatchResult {
        let gateway = self.gateway.clone();
        let mut batch = WatchBatch::default();
        loop {
            // Created before the feed is read, so that no change in between is missed.
            let changed = self.subscription.changed();
            let before = self.reader.position();
            let (reader, is_end);
            (reader, batch, is_end) = self.read(batch).await?;
            self.reader = reader;
            let has_progress = self.reader.position() > before || batch.replaced > 0;
            let is_due = has_progress && self.responded_at.elapsed() >= PROGRESS_INTERVAL;
            let has_content = !batch.reports.is_empty() || !self.is_up_to_date;
            if batch.is_full() || is_due || is_end && has_content {
                self.responded_at = Instant::now();
                self.is_up_to_date = is_end;
                break Ok(response(&gateway, self.reader, batch, is_end));
            }
            if is_end {
                changed.await;
            }
        }
    }

    /// Reads the next changes into the batch. Returns also the new position, and whether it is the
    /// end of the feed.
    async fn read(&self, mut batch: WatchBatch) -> Result<(FeedReader, WatchBatch, bool), Status> {
        let (gateway, filter) = (self.gateway.clone(), self.filter.clone());
        let (mut reader, replaced_after) = (self.reader, self.replaced_after);
        let unread = gateway.replica().store().last() - reader.position();
        let read = move || {
            let is_end = read(&gateway, &mut reader, (&filter, replaced_after), &mut batch);
            (reader, batch, is_end)
        };
        if unread <= MAX_CHANGES_INLINE {
            Ok(read())
        } else {
            spawn_blocking(read).await.map_err(panicked)
        }
    }
}

fn response(
    gateway: &Gateway,
    reader: FeedReader,
    batch: WatchBatch,
    is_end: bool,
) -> WatchResponse {
    WatchResponse {
        reports: batch.reports,
        incarnation: gateway.replica().incarnation().get(),
        sequence: reader.position(),
        replaced: batch.replaced,
        up_to_date: is_end,
    }
}

/// Reads the next changes into the batch. Returns whether the reader reached the end of the feed.
fn read(
    gateway: &Gateway,
    reader: &mut FeedReader,
    (filter, replaced_after): (&WatchFilter, u64),
    batch: &mut WatchBatch,
) -> bool {
    let now = gateway.clock().now();
    let (before, mut present) = (reader.position(), 0);
    let store = gateway.replica().store();
    let is_end = reader.read(store, MAX_CHANGES_PER_READ, |stored| {
        if batch.is_full() {
            return ControlFlow::Break(());
        }
        present += u64::from(stored.number > replaced_after);
        if is_wanted(gateway, filter, stored, now) {
            batch.add(known_report(gateway.replica(), stored));
        }
        ControlFlow::Continue(())
    });
    let passed = reader.position().max(replaced_after) - before.max(replaced_after);
    batch.replaced += passed - present;
    is_end
}

fn is_wanted(
    gateway: &Gateway,
    filter: &WatchFilter,
    stored: &StoredReport<'_>,
    now: UnixNanos,
) -> bool {
    filter.wants(&stored.report)
        && !gateway
            .replica()
            .is_expired(stored.report.order_time(), now)
}

/// Returns the status with which a watch ends when the server shuts down.
pub(super) fn shutting_down() -> Status {
    Status::unavailable("this server is shutting down: try again later")
}
