//! The progress of a server's storage: what is durable, and how the disk does.

use std::sync::Mutex;
use std::time::Instant;

use tokio::sync::watch;

use crate::lock::lock;
use crate::proto::RecoveryStatus;

/// The progress of a server's storage. The thread that writes updates it.
#[derive(Debug)]
pub struct StorageProgress {
    durable: watch::Sender<u64>,
    recovery: RecoveryStatus,
    latest: Mutex<StorageSnapshot>,
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
            durable: watch::Sender::new(0),
            recovery,
            latest: Mutex::default(),
        }
    }

    /// Returns the last sequence number through which all changes are on the disk.
    pub fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Returns a receiver of that number, which is notified when it grows.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
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
        self.durable.send_if_modified(|before| {
            let is_greater = durable > *before;
            *before = durable.max(*before);
            is_greater
        });
    }
}
