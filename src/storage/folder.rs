//! The folder of one server on the disk, and its lock.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::Files;

/// The name of the file that the process which uses the folder holds locked.
const LOCK: &str = "lock";

/// A folder of one server on the disk. A process that uses it holds a lock, which ends with the
/// process.
///
/// If the lock cannot be had for another reason than another process, such as a read-only disk, the
/// folder can be read, and each attempt to write tries again.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: Option<File>,
    /// Files that were created or appended to.
    open: HashMap<String, File>,
}

/// The reason why a folder cannot be used: another process uses it.
#[derive(Debug)]
pub struct FolderError {
    path: PathBuf,
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot use {}: another process stores a server there; stop it, or set another \
             \"dir\" under [storage]",
            self.path.display()
        )
    }
}

impl std::error::Error for FolderError {}

impl Folder {
    /// Creates the folder if it is missing, and locks it.
    ///
    /// # Errors
    ///
    /// Returns [`FolderError`] if another process has locked it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let mut folder = Self {
            path: path.into(),
            lock: None,
            open: HashMap::new(),
        };
        match folder.lock() {
            Err(error) if is_held(&error) => Err(FolderError { path: folder.path }),
            // Each attempt to write tries again, and reports the error.
            Ok(()) | Err(_) => Ok(folder),
        }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        create_durably(&self.path)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = options.open(self.path.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => self.lock = Some(file),
            Err(TryLockError::WouldBlock) => return Err(held()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(())
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns a file for writing, after it has locked the folder.
    fn writable(&mut self, name: &str) -> io::Result<&mut File> {
        self.lock()?;
        if !self.open.contains_key(name) {
            let file = OpenOptions::new().append(true).open(self.path_of(name))?;
            self.open.insert(name.to_owned(), file);
        }
        Ok(self.open.get_mut(name).expect("it was inserted above"))
    }

    /// Makes names of files durable.
    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Creates a folder and those above it, as far as they are missing, and makes their names durable:
/// a file in a folder without a durable name is lost, however often it is synced.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().unwrap_or(Path::new(""));
    // A relative path starts at the working directory.
    let above = if above.as_os_str().is_empty() {
        Path::new(".")
    } else {
        create_durably(above)?;
        above
    };
    match fs::create_dir(path) {
        Err(error) if !path.is_dir() => return Err(error),
        // Another server of the herd may have created it.
        Ok(()) | Err(_) => {}
    }
    File::open(above)?.sync_all()
}

/// The error for a lock that another process holds.
fn held() -> io::Error {
    io::Error::new(
        io::ErrorKind::WouldBlock,
        "another process has locked the folder",
    )
}

fn is_held(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl Files for Folder {
    type Reader = File;

    fn list(&mut self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().into_string().ok());
        entries
            .filter_map(|entry| name(entry).transpose())
            .collect()
    }

    fn open(&mut self, name: &str) -> io::Result<File> {
        File::open(self.path_of(name))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.lock()?;
        let path = self.path_of(name);
        let mut options = OpenOptions::new();
        // Truncated by a call of its own: with append, creation does not.
        options.create(true).append(true);
        let file = options.open(path)?;
        file.set_len(0)?;
        self.open.insert(name.to_owned(), file);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.writable(name)?.write_all(bytes)
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        self.writable(name)?.set_len(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.writable(name)?.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.lock()?;
        fs::rename(self.path_of(from), self.path_of(to))?;
        if let Some(file) = self.open.remove(from) {
            self.open.insert(to.to_owned(), file);
        }
        self.sync_names()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.lock()?;
        self.open.remove(name);
        fs::remove_file(self.path_of(name))
    }
}
