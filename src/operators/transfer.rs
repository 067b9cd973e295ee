//! Export and import: all reports of a server as the messages of its storage, and such messages
//! into a server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tonic::Status;
use tracing::info;

use crate::gateway::Gateway;
use crate::log::LogThrottle;
use crate::model::report::Report;
use crate::proto::{ImportRequest, ImportResponse, PushFrame};
use crate::replication::feed_reader::FeedReader;
use crate::replication::replica::MergeStats;
use crate::wire::{self, PushError};

use super::watch::shutting_down;
use super::wire::{invalid, panicked};

/// Minimum time between two log lines about imports.
const IMPORT_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// An item of the stream of an export.
pub(super) type ExportResult = Result<PushFrame, Status>;

/// Sends all reports that the server holds when this is called, or newer ones. The next message is
/// read when the one before it has been passed to the transport.
pub(super) async fn export(
    gateway: Arc<Gateway>,
    messages: mpsc::Sender<ExportResult>,
    _permit: OwnedSemaphorePermit,
) {
    let drain = gateway.shutdown().drain().clone();
    let last = gateway.replica().store().last();
    let mut reader = FeedReader::after(0);
    loop {
        let permit = tokio::select! {
            permit = messages.reserve() => permit,
            () = drain.cancelled() => {
                let _ = messages.send(Err(shutting_down())).await;
                return;
            }
        };
        // An error means that the caller has left.
        let Ok(permit) = permit else { return };
        let gateway = gateway.clone();
        let read = move || {
            let message = wire::next_export(gateway.replica(), &mut reader);
            (reader, message)
        };
        let message = match spawn_blocking(read).await.map_err(panicked) {
            Ok((after, message)) => {
                reader = after;
                Ok(message)
            }
            Err(status) => Err(status),
        };
        let is_last = message.is_err() || reader.position() >= last;
        permit.send(message);
        if is_last {
            return;
        }
    }
}

/// The importing side of a server.
#[derive(Debug)]
pub(super) struct Importer {
    log: LogThrottle,
}

impl Importer {
    pub(super) fn new() -> Self {
        Self {
            log: LogThrottle::new(IMPORT_LOG_INTERVAL),
        }
    }

    /// Merges the reports of a message of an export, which then spread like others.
    pub(super) async fn import(
        &self,
        gateway: &Gateway,
        request: ImportRequest,
    ) -> Result<ImportResponse, Status> {
        if gateway.shutdown().has_begun() {
            return Err(shutting_down());
        }
        let frame = PushFrame(Bytes::from(request.changes));
        let push = wire::read_push(&frame).map_err(malformed)?;
        let (herd, server) = (push.header.herd, push.header.sender);
        let own = gateway.replica().herd().as_str();
        if herd != own && !request.other_herd {
            return Err(Status::failed_precondition(format!(
                "the reports are of the herd {herd:?}, and this server is of {own:?}: permit \
                 other_herd (--other-herd) to make two herds one"
            )));
        }
        let reports = push.reports().map_err(malformed)?;
        let mut total = MergeStats::default();
        let merge = |chunk: &[Report<'_>], now| {
            let stats = gateway.replica().import(chunk, now);
            total.newer += stats.newer;
            total.duplicate += stats.duplicate;
            total.stale += stats.stale;
            stats
        };
        gateway.merge_in_turns(&reports, merge).await;
        gateway.counters().reports_imported.add(total.newer as u64);
        if let Some(suppressed) = self.log.admit() {
            let MergeStats { newer, .. } = total;
            let all = reports.len();
            info!(
                "imported a part of an export of {server:?} of the herd {herd:?}: {newer} of {all} \
                 reports are newer{suppressed}"
            );
        }
        Ok(ImportResponse {
            newer: total.newer as u64,
            duplicate: total.duplicate as u64,
            stale: total.stale as u64,
        })
    }
}

fn malformed(error: PushError) -> Status {
    invalid(error.to_string())
}
