//! A watch of the feed as a stream of responses.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use crate::gateway::{FeedWatch, Gateway, WatchBatch, WatchStart};
use crate::model::report::Report;
use crate::proto::WatchResponse;

use super::filter::WatchFilter;
use super::wire::panicked;

/// An item of the stream of responses.
pub(super) type WatchResult = Result<WatchResponse, Status>;

/// A watch that sends its batches to an operator.
pub(super) struct WatchStream {
    gateway: Arc<Gateway>,
    watch: FeedWatch,
    _permit: OwnedSemaphorePermit,
}

impl WatchStream {
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        filter: WatchFilter,
        start: WatchStart,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let filter = Arc::new(move |report: &Report<'_>| filter.wants(report));
        Self {
            gateway: gateway.clone(),
            watch: FeedWatch::new(gateway, filter, start),
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
            let batch = tokio::select! {
                batch = self.watch.next() => batch,
                () = responses.closed() => return,
            };
            let is_last = batch.is_err();
            permit.send(batch.map(|batch| self.response(batch)).map_err(panicked));
            if is_last {
                return;
            }
        }
    }

    fn response(&self, batch: WatchBatch) -> WatchResponse {
        WatchResponse {
            reports: batch.reports,
            incarnation: self.gateway.replica().incarnation().get(),
            sequence: batch.sequence,
            replaced: batch.replaced,
            up_to_date: batch.is_end,
        }
    }
}

/// Returns the status with which a watch ends when the server shuts down.
pub(super) fn shutting_down() -> Status {
    Status::unavailable("this server is shutting down: try again later")
}
