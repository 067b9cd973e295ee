//! The operations on a folder of files that storage needs.

use std::fmt;
use std::io::{self, Read};

/// A folder of files. [`Folder`](super::Folder) is one on the disk; a simulation has others.
pub trait Files {
    /// A reader of a file.
    type Reader: Read;

    /// Returns the names of all files, in any order.
    ///
    /// # Errors
    ///
    /// Those of the system, here and below.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// Opens a file for reading, from its beginning.
    fn open(&mut self, name: &str) -> io::Result<Self::Reader>;

    /// Creates an empty file, in place of one with the same name.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Appends bytes. After an error, any part of them may have been appended.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file to its first `bytes` bytes.
    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()>;

    /// Makes the contents of a file durable. After an error they are unknown.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Renames a file, and makes that durable. Replaces a file with the new name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// The failure of an operation on a file. What was durable before is durable.
#[derive(Debug)]
pub struct StorageError {
    /// The operation, as a verb.
    pub action: &'static str,
    /// The name of the file.
    pub file: String,
    /// The error of the system.
    pub error: io::Error,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            file,
            error,
        } = self;
        write!(f, "cannot {action} {file}: {error}")
    }
}

impl std::error::Error for StorageError {}

/// Adds the operation and the file to an error.
pub(super) trait Context<T> {
    fn context(self, action: &'static str, file: &str) -> Result<T, StorageError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, file: &str) -> Result<T, StorageError> {
        self.map_err(|error| StorageError {
            action,
            file: file.to_owned(),
            error,
        })
    }
}

/// The beginning of the name of a file with the state of a server.
const STATE: &str = "state-";

/// The end of the name of a file that is being written by a compaction.
const UNFINISHED: &str = ".tmp";

/// The name of the file of a generation. A later generation replaces all earlier ones.
pub(super) fn state_name(generation: u64) -> String {
    format!("{STATE}{generation:016x}")
}

/// The name of the file of a generation while it is being written.
pub(super) fn unfinished_name(generation: u64) -> String {
    state_name(generation) + UNFINISHED
}

/// A file name, as far as it is one of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileName {
    /// The state of a generation.
    State(u64),
    /// An unfinished state.
    Unfinished(u64),
    /// A state that was set aside.
    SetAside(u64),
}

impl FileName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(STATE)?;
        let (number, rest) = rest.split_at_checked(16)?;
        let generation = u64::from_str_radix(number, 16).ok()?;
        match rest {
            "" => Some(Self::State(generation)),
            UNFINISHED => Some(Self::Unfinished(generation)),
            rest => rest.starts_with('.').then_some(Self::SetAside(generation)),
        }
    }

    pub(super) fn generation(self) -> u64 {
        let (Self::State(generation) | Self::Unfinished(generation) | Self::SetAside(generation)) =
            self;
        generation
    }
}
