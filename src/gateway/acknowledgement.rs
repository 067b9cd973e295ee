//! When the report of a client is acknowledged: the levels, and the wait for one.
//!
//! Every level is a position in the server's feed that another part of the server moves: the sync of
//! the storage, or the acknowledgement of a neighbour. A report is acknowledged when the position
//! has reached what the feed had when the report was merged. That holds for a report that changed
//! nothing too: what the server held instead is in the feed before it.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;

use crate::replication::feed_watermark::{FeedWatermark, MergedPosition};

use super::{Gateway, StorageProgress};

/// The time at which an IAMAT is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcknowledgeLevel {
    /// At once.
    #[default]
    Received,
    /// When the report is on the disk of the server.
    Disk,
    /// When a neighbour has acknowledged the report.
    Neighbour,
}

impl AcknowledgeLevel {
    /// All levels.
    pub const ALL: [Self; 3] = [Self::Received, Self::Disk, Self::Neighbour];

    /// Returns the name that the config has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Disk => "disk",
            Self::Neighbour => "neighbour",
        }
    }
}

/// The acknowledgement of the reports that were merged before it was made.
#[derive(Debug)]
pub struct PendingAcknowledgement {
    gateway: Arc<Gateway>,
    /// `None` if nothing ever acknowledges them.
    reached: Option<watch::Receiver<FeedWatermark>>,
    position: MergedPosition,
}

/// A connection that waits for an acknowledgement, until dropped.
struct WaitingConnection<'a>(&'a Gateway);

impl Drop for WaitingConnection<'_> {
    fn drop(&mut self) {
        self.0.counters.client_waits_ended.add(1);
    }
}

impl Gateway {
    /// Returns the acknowledgement of all reports that were merged before this call; `None` if they
    /// are acknowledged. If they wait for the disk, asks for a write to it.
    pub fn acknowledgement(
        self: &Arc<Self>,
        level: AcknowledgeLevel,
    ) -> Option<PendingAcknowledgement> {
        // The config has no level for the disk without storage.
        let storage = self.storage();
        let reached = match level {
            AcknowledgeLevel::Received => return None,
            AcknowledgeLevel::Disk => storage.map(StorageProgress::subscribe),
            AcknowledgeLevel::Neighbour => Some(self.links.acknowledged()),
        };
        let position = MergedPosition::of(self.replica.store());
        if let Some(reached) = &reached
            && reached.borrow().covers(position)
        {
            return None;
        }
        if let (AcknowledgeLevel::Disk, Some(storage)) = (level, storage) {
            storage.want(position);
        }
        Some(PendingAcknowledgement {
            gateway: self.clone(),
            reached,
            position,
        })
    }
}

impl PendingAcknowledgement {
    /// Resolves when the reports are acknowledged. Counts as a waiting connection meanwhile.
    pub async fn reached(mut self) {
        self.gateway.counters.client_waits_begun.add(1);
        let _waiting = WaitingConnection(&self.gateway);
        let position = self.position;
        let reached = match &mut self.reached {
            Some(reached) => reached.wait_for(|it| it.covers(position)).await.is_ok(),
            None => false,
        };
        if !reached {
            pending::<()>().await;
        }
    }
}
