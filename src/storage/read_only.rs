//! A folder that is only read: recovery from it changes nothing.

use std::io::{self, ErrorKind};

use crate::model::timestamp::UnixNanos;
use crate::replication::replica::Replica;

use super::files::Files;
use super::recovery::{RecoveryReport, recover};

/// Files that can be read and not changed.
struct ReadOnly<F>(F);

/// Reads the feed that is stored in a folder into an empty replica, at the time `now`, and changes
/// nothing there.
pub fn read<F: Files>(files: F, replica: &mut Replica, now: UnixNanos) -> RecoveryReport {
    let (_, report) = recover(ReadOnly(files), replica, now);
    report
}

fn rejected() -> io::Result<()> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl<F: Files> Files for ReadOnly<F> {
    type Reader = F::Reader;

    fn list(&mut self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn open(&mut self, name: &str) -> io::Result<F::Reader> {
        self.0.open(name)
    }

    fn create(&mut self, _: &str) -> io::Result<()> {
        rejected()
    }

    fn append(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        rejected()
    }

    fn truncate(&mut self, _: &str, _: u64) -> io::Result<()> {
        rejected()
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        rejected()
    }

    fn rename(&mut self, _: &str, _: &str) -> io::Result<()> {
        rejected()
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        rejected()
    }
}
