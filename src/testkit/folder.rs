//! The folder of a herd.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, io, process, thread};

use crate::random;

/// The mode of the folder: it holds positions, which are for its owner only.
const OWNER_ONLY: u32 = 0o700;

/// A new folder for temporary files, removed when dropped. The crate tempfile does the same, and
/// this is all of it that the kit needs.
#[derive(Debug)]
pub(super) struct HerdFolder(PathBuf);

impl HerdFolder {
    /// Makes a folder of a name that no other has.
    pub(super) fn create() -> Result<Self, (PathBuf, io::Error)> {
        let name = format!("proxyherd-{}-{:016x}", process::id(), random::u64());
        let path = env::temp_dir().join(name);
        match DirBuilder::new().mode(OWNER_ONLY).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err((path, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for HerdFolder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the logs of the herd are in {}", self.0.display());
        } else {
            // What stays is in a folder for temporary files.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
