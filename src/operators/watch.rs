//! One watcher: it reads the feed as a neighbour does, at its own pace.
//!
//! A batch is read when the one before is on its way to the watcher, and not
//! before that. So one that is slow costs a place in the feed and two batches,
//! and of a client that reports again meanwhile it is told the newest only. What
//! is far behind, or begins with all that there is, reads on a thread where no
//! client waits.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::gateway::{Gateway, Watching};
use crate::model::timestamp::UnixNanos;
use crate::proto::{KnownReport, WatchResponse};
use crate::replication::feed_reader::FeedReader;
use crate::replication::store::StoredReport;

use super::filter::Filter;
use super::keeper::lost;
use super::wire::known_report;

/// Most reports in one response,
const MAX_REPORTS: usize = 1000;

/// and most bytes of them, about.
const MAX_BYTES: usize = 256 * 1024;

/// How many changes are looked at in one go.
const SOME: usize = 4096;

/// A watcher that is behind by no more than this reads where clients are served,
/// which holds them up for a fraction of a millisecond.
const FEW: u64 = 256;

/// Between two responses to a watcher that is up to date: the next gather
/// meanwhile, and the first after a silence goes out at once.
const GAP: Duration = Duration::from_millis(5);

/// A watcher that wants nothing of what happens is told so often how far it has
/// come, if anything happens.
const PROGRESS: Duration = Duration::from_secs(1);

pub(super) type Told = Result<WatchResponse, Status>;

/// Who watches, and how far it has come.
pub(super) struct Watcher {
    gateway: Arc<Gateway>,
    watching: Watching,
    filter: Arc<Filter>,
    tail: FeedReader,
    /// Changes up to this are not missed when they are not told.
    began: u64,
    told_at: Instant,
    /// Was it told all that there was, with the last response?
    is_up_to_date: bool,
    _place: OwnedSemaphorePermit,
}

/// A response being put together.
#[derive(Default)]
struct Batch {
    reports: Vec<KnownReport>,
    bytes: usize,
    replaced: u64,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.reports.len() >= MAX_REPORTS || self.bytes >= MAX_BYTES
    }

    fn add(&mut self, report: KnownReport) {
        self.bytes += report.encoded_len();
        self.reports.push(report);
    }
}

impl Watcher {
    /// Will be told what changes behind `seen`; of what is replaced, it is told
    /// from `began` on.
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        filter: Filter,
        (seen, began): (u64, u64),
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            watching: gateway.watch(),
            gateway: gateway.clone(),
            filter: Arc::new(filter),
            tail: FeedReader::after(seen),
            began,
            told_at: Instant::now(),
            is_up_to_date: false,
            _place: place,
        }
    }

    /// Tells until the watcher hangs up or the server shuts down.
    pub(super) async fn run(mut self, to: mpsc::Sender<Told>) {
        let gateway = self.gateway.clone();
        tokio::select! {
            () = self.tell(&to) => {}
            () = gateway.board().closed() => {
                let _ = to.send(Err(shutting_down())).await;
            }
        }
    }

    async fn tell(&mut self, to: &mpsc::Sender<Told>) {
        while let Ok(place) = to.reserve().await {
            let response = tokio::select! {
                response = self.next() => response,
                () = to.closed() => return,
            };
            let is_over = response.is_err();
            place.send(response);
            if is_over {
                return;
            }
            if self.is_up_to_date {
                sleep(GAP).await;
            }
        }
    }

    /// Waits until there is something to tell.
    async fn next(&mut self) -> Told {
        let gateway = self.gateway.clone();
        let mut batch = Batch::default();
        loop {
            // Before the feed is read, or what comes between would be missed.
            let news = self.watching.news();
            let before = self.tail.position();
            let (tail, is_end);
            (tail, batch, is_end) = self.read(batch).await?;
            self.tail = tail;
            let has_moved = self.tail.position() > before || batch.replaced > 0;
            let is_due = has_moved && self.told_at.elapsed() >= PROGRESS;
            let has_news = !batch.reports.is_empty() || !self.is_up_to_date;
            if batch.is_full() || is_due || is_end && has_news {
                self.told_at = Instant::now();
                self.is_up_to_date = is_end;
                break Ok(respond(&gateway, self.tail, batch, is_end));
            }
            if is_end {
                news.await;
            }
        }
    }

    /// Reads some more of the feed into the batch. Gives how far it came, and
    /// whether that was all.
    async fn read(&self, mut batch: Batch) -> Result<(FeedReader, Batch, bool), Status> {
        let (gateway, filter) = (self.gateway.clone(), self.filter.clone());
        let (mut tail, began) = (self.tail, self.began);
        let behind = gateway.replica().store().last() - tail.position();
        let read = move || {
            let is_end = read(&gateway, &mut tail, (&filter, began), &mut batch);
            (tail, batch, is_end)
        };
        match behind <= FEW {
            true => Ok(read()),
            false => spawn_blocking(read).await.map_err(lost),
        }
    }
}

fn respond(gateway: &Gateway, tail: FeedReader, batch: Batch, is_end: bool) -> WatchResponse {
    WatchResponse {
        reports: batch.reports,
        incarnation: gateway.replica().identity().incarnation.get(),
        sequence: tail.position(),
        replaced: batch.replaced,
        up_to_date: is_end,
    }
}

/// Reads some more of the feed into the batch. Gives whether that was all.
fn read(
    gateway: &Gateway,
    tail: &mut FeedReader,
    (filter, began): (&Filter, u64),
    batch: &mut Batch,
) -> bool {
    let now = gateway.clock().now();
    let (before, mut met) = (tail.position(), 0);
    let is_end = tail.read(gateway.replica().store(), SOME, |_, held| {
        if batch.is_full() {
            return ControlFlow::Break(());
        }
        met += u64::from(held.number > began);
        if is_wanted(gateway, filter, held, now) {
            batch.add(known_report(gateway.replica(), held));
        }
        ControlFlow::Continue(())
    });
    let passed = tail.position().max(began) - before.max(began);
    batch.replaced += passed - met;
    is_end
}

fn is_wanted(gateway: &Gateway, filter: &Filter, held: &StoredReport<'_>, now: UnixNanos) -> bool {
    filter.wants(&held.report) && !gateway.replica().is_expired(held.report.time, now)
}

pub(super) fn shutting_down() -> Status {
    Status::unavailable("this server is shutting down: try again later")
}
