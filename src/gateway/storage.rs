//! The progress of a server's storage: what is durable, how the disk does, and what the thread that
//! writes is asked for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::lock::lock;
use crate::proto::RecoveryStatus;
use crate::replication::feed_watermark::{FeedWatermark, MergedPosition};

/// The progress of a server's storage. The thread that writes updates it.
#[derive(Debug)]
pub struct StorageProgress {
    durable: watch::Sender<FeedWatermark>,
    recovery: RecoveryStatus,
    latest: Mutex<StorageSnapshot>,
    /// Held for a few reads and writes, never across an await.
    requests: Mutex<Requests>,
    requested: Condvar,
}

/// What was asked of the thread that writes.
#[derive(Debug, Default)]
struct Requests {
    /// The last position for which answers wait.
    wanted: MergedPosition,
    /// Who waits for an attempt, whatever its result.
    flushes: Vec<oneshot::Sender<()>>,
    is_closed: bool,
}

/// What ended a wait for requests.
#[derive(Debug)]
pub enum WriteRequest {
    /// Nothing: the time has passed.
    None,
    /// Answers wait for what is not durable.
    Wanted,
    /// Callers wait for an attempt.
    Flush(Vec<oneshot::Sender<()>>),
    /// The storage ends.
    Closed,
}

/// The state of the files after an attempt to write.
#[derive(Clone, Debug, Default)]
pub struct StorageSnapshot {
    /// Size of the files in use, in bytes.
    pub bytes: u64,
    /// Number of the files in use.
    pub files: u64,
    /// Bytes written since the start.
    pub bytes_written: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// Compactions since the start.
    pub compactions: u64,
    /// Failed attempts since the start.
    pub errors: u64,
    /// The error of the last attempt; empty if it succeeded.
    pub error: String,
    /// Time of the last attempt that succeeded.
    pub succeeded_at: Option<Instant>,
}

impl StorageProgress {
    /// Creates the progress of a server that has written nothing yet.
    pub fn new(recovery: RecoveryStatus) -> Self {
        Self {
            durable: watch::Sender::default(),
            recovery,
            latest: Mutex::default(),
            requests: Mutex::default(),
            requested: Condvar::new(),
        }
    }

    /// Returns the last sequence number through which all changes are on the disk.
    pub fn durable(&self) -> u64 {
        self.durable.borrow().sequence()
    }

    /// Returns a receiver of what is on the disk, which is notified when that grows.
    pub fn subscribe(&self) -> watch::Receiver<FeedWatermark> {
        self.durable.subscribe()
    }

    /// Returns what was found at the start.
    pub fn recovery(&self) -> &RecoveryStatus {
        &self.recovery
    }

    /// Returns the state of the files.
    pub fn snapshot(&self) -> StorageSnapshot {
        lock(&self.latest).clone()
    }

    /// Records an attempt to write, after which everything through `durable` is on the disk.
    pub fn record(&self, durable: u64, snapshot: StorageSnapshot) {
        *lock(&self.latest) = snapshot;
        self.durable
            .send_if_modified(|watermark| watermark.raise(durable));
    }

    /// Asks for a write of everything through `position`. The next write grants all requests that
    /// were made before it.
    pub fn want(&self, position: MergedPosition) {
        let mut requests = lock(&self.requests);
        if position > requests.wanted {
            requests.wanted = position;
            self.requested.notify_one();
        }
    }

    /// Asks for an attempt to write everything, also to a disk that fails. The receiver resolves
    /// when that was tried, or when the storage ends.
    pub fn flush(&self) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        let mut requests = lock(&self.requests);
        if !requests.is_closed {
            requests.flushes.push(done);
            self.requested.notify_one();
        }
        is_done
    }

    /// Asks the thread that writes to end.
    pub fn close(&self) {
        let mut requests = lock(&self.requests);
        requests.is_closed = true;
        requests.flushes.clear();
        self.requested.notify_one();
    }

    /// Waits for a request, at most for a time. With `is_patient`, answers that wait are none.
    pub fn next_request(&self, limit: Duration, is_patient: bool) -> WriteRequest {
        let durable = *self.durable.borrow();
        let is_wanted = |requests: &Requests| !is_patient && !durable.covers(requests.wanted);
        let is_none = |requests: &mut Requests| {
            !requests.is_closed && requests.flushes.is_empty() && !is_wanted(requests)
        };
        let requests = lock(&self.requests);
        let waited = self.requested.wait_timeout_while(requests, limit, is_none);
        let (mut requests, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if requests.is_closed {
            WriteRequest::Closed
        } else if !requests.flushes.is_empty() {
            WriteRequest::Flush(std::mem::take(&mut requests.flushes))
        } else if is_wanted(&requests) {
            WriteRequest::Wanted
        } else {
            WriteRequest::None
        }
    }
}
