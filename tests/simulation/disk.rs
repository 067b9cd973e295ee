//! A disk that keeps what was synced, and of the rest what it likes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::rc::Rc;

use proxyherd::storage::files::Files;

use crate::random::Random;

/// The disk of one server. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, SimulatedFile>,
    /// Files that were removed and may come back after a power cut.
    removed: Vec<(String, SimulatedFile)>,
    /// Number of operations until one fails; `None` for never. All after it fail too.
    fails_after: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct SimulatedFile {
    /// What a reader sees.
    bytes: Vec<u8>,
    /// What is on the disk.
    synced: Vec<u8>,
    /// The parts of `bytes` that were appended since the last sync.
    unsynced: Vec<std::ops::Range<usize>>,
    /// Whether a sync failed. Later ones succeed, and do nothing.
    is_lost: bool,
}

impl Disk {
    /// Lets the disk fail after some operations, or never.
    pub(crate) fn fail_after(&self, operations: Option<u64>) {
        self.0.borrow_mut().fails_after = operations;
    }

    /// Cuts the power: of what was not synced, each part is kept, lost or torn.
    pub(crate) fn cut_power(&self, random: &mut Random) {
        let mut state = self.0.borrow_mut();
        for (name, file) in std::mem::take(&mut state.removed) {
            if random.chance(500) {
                state.files.entry(name).or_insert(file);
            }
        }
        for file in state.files.values_mut() {
            file.cut_power(random);
        }
    }

    /// Changes a bit of a file. Returns `false` if there is none.
    pub(crate) fn flip_bit(&self, random: &mut Random) -> bool {
        let mut state = self.0.borrow_mut();
        let files = state.files.values_mut();
        let mut files: Vec<_> = files.filter(|file| !file.bytes.is_empty()).collect();
        if files.is_empty() {
            return false;
        }
        let at = random.below(files.len());
        let file = &mut files[at];
        let byte = random.below(file.bytes.len());
        file.bytes[byte] ^= 1 << random.below(8);
        file.synced.clone_from(&file.bytes);
        file.unsynced.clear();
        true
    }

    /// Counts an operation. Returns an error if it fails.
    fn operate(&self) -> io::Result<()> {
        let left = &mut self.0.borrow_mut().fails_after;
        match left {
            Some(0) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn with<T>(&self, name: &str, change: impl FnOnce(&mut SimulatedFile) -> T) -> io::Result<T> {
        let mut state = self.0.borrow_mut();
        let file = state.files.get_mut(name);
        file.map(change).ok_or_else(not_found)
    }
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl SimulatedFile {
    fn cut_power(&mut self, random: &mut Random) {
        // A file that was cut may have its old end again.
        let is_cut_back = self.bytes.len() < self.synced.len() && random.chance(500);
        let mut bytes = if is_cut_back {
            self.synced[..self.bytes.len()].to_vec()
        } else {
            self.synced.clone()
        };
        for part in std::mem::take(&mut self.unsynced) {
            let kept = match random.below(3) {
                0 => continue,
                1 => part.clone(),
                _ => part.start..part.start + random.below(part.len() + 1),
            };
            if bytes.len() < kept.end {
                // What was lost before it is zero.
                bytes.resize(kept.end, 0);
            }
            bytes[kept.clone()].copy_from_slice(&self.bytes[kept]);
        }
        *self = Self {
            synced: bytes.clone(),
            bytes,
            unsynced: Vec::new(),
            is_lost: false,
        };
    }
}

impl Files for Disk {
    type Reader = Cursor<Vec<u8>>;

    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().files.keys().cloned().collect())
    }

    fn open(&mut self, name: &str) -> io::Result<Cursor<Vec<u8>>> {
        self.with(name, |file| Cursor::new(file.bytes.clone()))
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.operate()?;
        let file = SimulatedFile::default();
        self.0.borrow_mut().files.insert(name.to_owned(), file);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let result = self.operate();
        // A full disk takes a part.
        let written = if result.is_ok() {
            bytes
        } else {
            &bytes[..bytes.len() / 2]
        };
        self.with(name, |file| {
            let start = file.bytes.len();
            file.bytes.extend_from_slice(written);
            file.unsynced.push(start..file.bytes.len());
        })?;
        result
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        // A full disk can cut a file; a broken one cannot.
        if self.0.borrow().fails_after == Some(0) && bytes.is_multiple_of(2) {
            return Err(io::Error::from(io::ErrorKind::Other));
        }
        self.with(name, |file| {
            let end = bytes as usize;
            file.bytes.truncate(end);
            file.unsynced.retain(|part| part.start < end);
            if let Some(part) = file.unsynced.last_mut() {
                part.end = part.end.min(end);
            }
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let result = self.operate();
        self.with(name, |file| {
            file.is_lost |= result.is_err();
            if !file.is_lost {
                file.synced.clone_from(&file.bytes);
                file.unsynced.clear();
            }
        })?;
        result
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let result = self.operate();
        let mut state = self.0.borrow_mut();
        // A rename that fails may have been done.
        if result.is_err() && state.files.len().is_multiple_of(2) {
            return result;
        }
        let file = state.files.remove(from).ok_or_else(not_found)?;
        state.files.insert(to.to_owned(), file);
        // The names are synced.
        if result.is_ok() {
            state.removed.clear();
        }
        result
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let file = state.files.remove(name).ok_or_else(not_found)?;
        state.removed.push((name.to_owned(), file));
        Ok(())
    }
}
