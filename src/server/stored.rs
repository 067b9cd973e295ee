//! The stored state of a server that does not run.

use crate::gateway::Clock;
use crate::replication::replica::Replica;
use crate::storage::recovery::RecoveryReport;
use crate::storage::{self, Folder, FolderError};

use super::{ServerPlan, replica_of};

/// The state of a server that does not run, as its storage has it.
#[derive(Debug)]
pub struct StoredState {
    /// A replica with what was read.
    pub replica: Replica,
    /// What was found.
    pub report: RecoveryReport,
}

/// Reads the storage of a server that does not run, and changes nothing there. Returns `None` if it
/// has no storage on this machine.
///
/// # Errors
///
/// Returns [`FolderError`] if the server runs.
pub fn read_stored(plan: &ServerPlan, clock: &Clock) -> Result<Option<StoredState>, FolderError> {
    let path = plan.storage.folder(&plan.name);
    let Some(path) = path.filter(|path| path.is_dir()) else {
        return Ok(None);
    };
    let folder = Folder::open(path)?;
    let mut replica = replica_of(plan);
    let report = storage::read(folder, &mut replica, clock.now());
    Ok((report.bytes > 0).then_some(StoredState { replica, report }))
}
