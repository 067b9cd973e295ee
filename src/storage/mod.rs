//! Storage: the disk as one more reader of the change feed.
//!
//! A server holds everything in memory, merging is idempotent, and the feed holds each client once.
//! So storage needs no engine: a file of the same messages that links push is enough. The
//! [journal](journal::Journal) is a feed reader whose cursor is *durable*: at each sync it appends
//! the changes after its cursor to a file and syncs it. A client that reports ten times between two
//! syncs costs one record. **Compaction is the same reader started at 0 into a new file**, since
//! the feed from 0 is the compact state.
//!
//! [Recovery](recovery::recover) merges the file into an empty store, and gives each report at
//! least the sequence number that it had. What the server knows of its neighbours is in the file
//! too: what it has applied of their feeds, and what they have acknowledged of its own. So a server
//! that restarts exchanges with its neighbours only what changed meanwhile; [`lineage`] has the
//! proof. Two orders make it true:
//!
//! - *What is known of neighbours* is read first, then all changes to the end of the feed, which
//!   are written before it. What is applied was merged before it was read, so it is among those
//!   changes, or was replaced by one of them. Recovery believes it only if every
//!   change before it in the file is whole.
//! - *What was lost is sent again.* Let a report be in the lost end of the feed, and a neighbour
//!   have it under its own number `m`. Had `m` been covered by what is stored as applied, the
//!   neighbour had either pushed the report to this server before that was read, or left it out
//!   because it had it from this server, before that was read. In both cases the store had it then,
//!   and it was written. So `m` is greater, and the neighbour pushes it: which incarnation had sent
//!   it is remembered by incarnation, so nothing is left out for the new one.
//!
//! After a start a new file is begun, even if the last one is whole: an earlier process may have
//! failed to sync what this one could read. Until it is complete, the last one stays.
//!
//! A disk that fails stops nothing: the cursor stays where it is and the feed keeps what is
//! missing, so the next attempt that succeeds writes it. After a failed sync a file is not trusted
//! any more (the system may have dropped what it could not write), and a new one is begun.
//!
//! | file | contents |
//! |---|---|
//! | [`mod@format`] | the frames of a file (pure) |
//! | [`files`] | the operations on a folder of files, as a trait |
//! | [`journal`] | the writer: appends, syncs, compacts |
//! | [`recovery`] | the reader at the start |
//! | `read_only` | the reader of a folder that stays as it is |
//! | `folder` | a folder on the disk, and its lock |
//! | `task` | the thread that drives the journal |
//!
//! [`lineage`]: crate::replication::lineage

pub mod files;
mod folder;
pub mod format;
pub mod journal;
mod read_only;
pub mod recovery;
mod task;

pub use folder::{Folder, FolderError};
pub use read_only::read;
pub use task::{Storage, Stored};

use std::path::PathBuf;
use std::time::Duration;

use crate::model::name::Name;

/// Settings of storage. `config/herd.toml` explains each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// The directory with a folder for each server; `None` for no storage.
    pub dir: Option<PathBuf>,
    /// Time between two syncs, 10 ms to 1 min. Default: 1 s.
    pub sync: Duration,
}

impl StorageSettings {
    /// Returns the folder of a server; `None` for no storage.
    pub fn folder(&self, server: &Name) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(server.as_str()))
    }
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            dir: None,
            sync: Duration::from_secs(1),
        }
    }
}
