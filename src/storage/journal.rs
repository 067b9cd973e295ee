//! The writer of a server's storage: a feed reader with a durable cursor.

use std::io;

use crate::replication::Incarnation;
use crate::replication::feed_reader::FeedReader;
use crate::replication::lineage::NeighbourFacts;
use crate::replication::replica::Replica;
use crate::replication::send_cursor::MAX_BATCH_REPORTS;
use crate::wire;

use super::files::{Context, FileName, Files, StorageError, state_name, unfinished_name};
use super::format::{self, Header};

/// Sizes by which a journal works. A simulation has smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct JournalSizes {
    /// Maximum number of reports in one frame, at most [`MAX_BATCH_REPORTS`].
    pub frame_reports: usize,
    /// A file is compacted when it is larger than twice its live part and these bytes.
    pub slack_bytes: u64,
    /// Number of bytes after which a step of a compaction ends and syncs them.
    pub step_bytes: u64,
}

impl Default for JournalSizes {
    fn default() -> Self {
        Self {
            frame_reports: MAX_BATCH_REPORTS,
            slack_bytes: 4 << 20,
            step_bytes: 4 << 20,
        }
    }
}

/// Estimated size of a report in a file, in bytes, before any was written.
const USUAL_REPORT_BYTES: u64 = 90;

/// The writer of a server's storage.
///
/// Invariants: every change through `durable` is in the files and synced, or was replaced by one
/// that is, or purged; `facts` are true of what is durable. Neither changes by an error.
#[derive(Debug)]
pub struct Journal<F> {
    files: F,
    /// The file that changes are appended to; `None` if there is none that can be trusted.
    file: Option<StateFile>,
    durable: u64,
    facts: Vec<NeighbourFacts>,
    compaction: Option<Compaction>,
    next_generation: u64,
    /// The files that recovery found and used, until the folder is listed before the first write.
    known: Option<Vec<String>>,
    /// Files that it had not read, which were set aside then.
    set_aside: Vec<String>,
    /// Whether a new file must be begun, whatever the size of the current one.
    must_compact: bool,
    /// Files that are set aside instead of removed when a later generation is complete.
    damaged: Vec<String>,
    sizes: JournalSizes,
    counts: JournalCounts,
}

/// Numbers of what a journal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Bytes written.
    pub bytes_written: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Compactions that were completed.
    pub compactions: u64,
}

/// A file of states, as far as it is known to be good.
#[derive(Clone, Debug)]
struct StateFile {
    name: String,
    bytes: u64,
    /// Number of reports in it, and the size of their frames.
    reports: u64,
    report_bytes: u64,
    /// The incarnation of its last header.
    incarnation: Option<Incarnation>,
}

impl StateFile {
    fn new(name: String) -> Self {
        Self {
            name,
            bytes: 0,
            reports: 0,
            report_bytes: 0,
            incarnation: None,
        }
    }

    /// Returns the estimated size of the live part, if `clients` have a report.
    fn live_bytes(&self, clients: u64) -> u64 {
        match self.reports {
            0 => clients * USUAL_REPORT_BYTES,
            reports => (u128::from(self.report_bytes) * u128::from(clients) / u128::from(reports))
                .try_into()
                .unwrap_or(u64::MAX),
        }
    }
}

/// A new generation under construction.
#[derive(Debug)]
struct Compaction {
    generation: u64,
    file: StateFile,
    reader: FeedReader,
}

/// The files that a journal finds. It begins a new one, whatever is there: an earlier process may
/// have failed to sync what this one could read, and a later sync would not tell.
#[derive(Debug)]
pub(super) struct JournalStart {
    /// Files that are of no use when a new one is complete. Any other one was not read: the folder
    /// may have been there in part, or not at all.
    pub(super) known: Vec<String>,
    /// Those of them that are set aside when a new one is complete.
    pub(super) damaged: Vec<String>,
}

impl<F: Files> Journal<F> {
    pub(super) fn new(files: F, start: JournalStart) -> Self {
        Self {
            files,
            file: None,
            durable: 0,
            facts: Vec::new(),
            compaction: None,
            next_generation: 1,
            known: Some(start.known),
            set_aside: Vec::new(),
            must_compact: true,
            damaged: start.damaged,
            sizes: JournalSizes::default(),
            counts: JournalCounts::default(),
        }
    }

    /// Sets the sizes by which the journal works.
    pub fn with_sizes(mut self, sizes: JournalSizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// Returns the last sequence number through which all changes are durable.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Returns the numbers of what was done.
    pub fn counts(&self) -> JournalCounts {
        self.counts
    }

    /// Returns the size of the files that are in use, in bytes, and their number.
    pub fn size(&self) -> (u64, u64) {
        let compaction = self.compaction.as_ref().map(|it| &it.file);
        let files = self.file.iter().chain(compaction);
        files.fold((0, 0), |(bytes, files), file| {
            (bytes + file.bytes, files + 1)
        })
    }

    /// Returns the present names of files that recovery had not read and that were found before the
    /// first write, once.
    pub fn take_set_aside(&mut self) -> Vec<String> {
        std::mem::take(&mut self.set_aside)
    }

    /// Returns the folder.
    pub fn files(&mut self) -> &mut F {
        &mut self.files
    }

    /// Ends the journal, and returns the folder.
    pub fn into_files(self) -> F {
        self.files
    }

    /// Appends the changes that are not durable to the current file, and syncs it. Writes nothing
    /// if there are none. Has no effect without a file that can be trusted:
    /// [`compact`](Self::compact) then makes changes durable.
    ///
    /// # Errors
    ///
    /// Returns the failed operation. The next call repeats what is missing.
    pub fn append(&mut self, replica: &Replica) -> Result<(), StorageError> {
        let Some(mut file) = self.file.clone() else {
            return Ok(());
        };
        // In this order: see the documentation of the folder.
        let facts = replica.facts();
        let last = replica.store().last();
        let is_new = file.incarnation != Some(replica.incarnation());
        if last <= self.durable && facts == self.facts && !is_new {
            return Ok(());
        }
        let mut reader = FeedReader::after(self.durable);
        let result = self.append_to(&mut file, replica, &mut reader, |_| true);
        let result = result.and_then(|_| self.append_facts(&mut file, &facts));
        if let Err(error) = result {
            self.cut_back();
            return Err(error);
        }
        if let Err(error) = self.files.sync(&file.name).context("sync", &file.name) {
            // What the system could not write it may have dropped, and a later sync may succeed.
            self.distrust();
            return Err(error);
        }
        self.counts.syncs += 1;
        self.file = Some(file);
        self.durable = self.durable.max(reader.position());
        self.facts = facts;
        Ok(())
    }

    /// Returns whether there is a compaction to begin or to continue.
    pub fn needs_compaction(&self, replica: &Replica) -> bool {
        let clients = replica.store().clients() as u64;
        let is_outgrown =
            |file: &StateFile| file.bytes > 2 * file.live_bytes(clients) + self.sizes.slack_bytes;
        self.must_compact
            || self.compaction.is_some()
            || self.file.as_ref().is_some_and(is_outgrown)
    }

    /// Takes a step of a compaction, if there is one to begin or to continue: copies a part of the
    /// feed to a new file. The new file replaces the current one when it has all of the feed.
    ///
    /// # Errors
    ///
    /// Returns the failed operation. The compaction then begins again with the next call.
    pub fn compact(&mut self, replica: &Replica) -> Result<(), StorageError> {
        if !self.needs_compaction(replica) {
            return Ok(());
        }
        let compaction = self.compaction.take();
        let incarnation = Some(replica.incarnation());
        let compaction = compaction.filter(|it| it.file.incarnation == incarnation);
        let mut compaction = match compaction {
            Some(compaction) => compaction,
            None => self.begin_compaction()?,
        };
        let result = self.copy_some(replica, &mut compaction);
        match result {
            Ok(None) => self.compaction = Some(compaction),
            Ok(Some(facts)) => {
                self.file = Some(compaction.file);
                self.durable = self.durable.max(compaction.reader.position());
                self.facts = facts;
                self.must_compact = false;
                self.counts.compactions += 1;
                self.remove_older(compaction.generation);
            }
            Err(error) => {
                // It would take the room that the next attempt needs.
                let _ = self.files.remove(&compaction.file.name);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Before the first write: sets files aside that recovery could not read, since a new file
    /// would replace them or be taken for an older one.
    fn list_files(&mut self) -> Result<(), StorageError> {
        let Some(known) = &self.known else {
            return Ok(());
        };
        let names = match self.files.list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.context("list", "the folder")?,
        };
        let parsed = names.into_iter().filter_map(|name| {
            let parsed = FileName::parse(&name)?;
            Some((name, parsed))
        });
        for (name, parsed) in parsed {
            self.next_generation = self.next_generation.max(parsed.generation() + 1);
            if matches!(parsed, FileName::State(_)) && !known.contains(&name) {
                let aside = format!("{name}.unreadable");
                self.files.rename(&name, &aside).context("rename", &name)?;
                self.set_aside.push(aside);
            }
        }
        self.known = None;
        Ok(())
    }

    fn begin_compaction(&mut self) -> Result<Compaction, StorageError> {
        self.list_files()?;
        let generation = self.next_generation;
        let file = StateFile::new(unfinished_name(generation));
        self.files
            .create(&file.name)
            .context("create", &file.name)?;
        self.next_generation += 1;
        Ok(Compaction {
            generation,
            file,
            reader: FeedReader::after(0),
        })
    }

    /// Copies some of the feed. When all was copied, makes the file a generation, and returns the
    /// facts in it.
    fn copy_some(
        &mut self,
        replica: &Replica,
        compaction: &mut Compaction,
    ) -> Result<Option<Vec<NeighbourFacts>>, StorageError> {
        let Compaction {
            generation,
            file,
            reader,
        } = compaction;
        // Read before the last part of the feed, as in `append`.
        let facts = replica.facts();
        let end = file.bytes + self.sizes.step_bytes;
        let is_end = self.append_to(file, replica, reader, |file| file.bytes < end)?;
        let is_complete = is_end && reader.position() >= self.durable;
        if is_complete {
            self.append_facts(file, &facts)?;
        }
        self.files.sync(&file.name).context("sync", &file.name)?;
        self.counts.syncs += 1;
        if !is_complete {
            return Ok(None);
        }
        let name = state_name(*generation);
        let renamed = self.files.rename(&file.name, &name);
        if let Err(error) = renamed.context("rename", &file.name) {
            // It may have its name now, and recovery would believe it: nothing more must go to the
            // file before it.
            self.distrust();
            return Err(error);
        }
        file.name = name;
        Ok(Some(facts))
    }

    /// Appends changes to a file, up to the end of the feed, while `is_wanted` returns `true`, and
    /// a header if the file needs one. Returns whether the reader reached the end.
    fn append_to(
        &mut self,
        file: &mut StateFile,
        replica: &Replica,
        reader: &mut FeedReader,
        is_wanted: impl Fn(&StateFile) -> bool,
    ) -> Result<bool, StorageError> {
        let incarnation = replica.incarnation();
        let mut bytes = Vec::new();
        if file.incarnation != Some(incarnation) {
            let header = Header {
                herd: replica.herd().to_string(),
                server: replica.name().to_string(),
                incarnation,
                lineage: replica.lineage(),
            };
            header.write(&mut bytes);
            self.write(file, &bytes)?;
            file.incarnation = Some(incarnation);
        }
        let mut is_end = false;
        while !is_end && is_wanted(file) {
            let limits = (self.sizes.frame_reports, usize::MAX);
            let changes = wire::next_changes(replica, incarnation, reader, limits);
            is_end = changes.is_end;
            if changes.reports == 0 {
                continue;
            }
            bytes.clear();
            format::write_changes(&mut bytes, &changes.push);
            self.write(file, &bytes)?;
            file.reports += changes.reports as u64;
            file.report_bytes += bytes.len() as u64;
        }
        Ok(is_end)
    }

    fn append_facts(
        &mut self,
        file: &mut StateFile,
        facts: &[NeighbourFacts],
    ) -> Result<(), StorageError> {
        let mut bytes = Vec::new();
        format::write_facts(&mut bytes, facts);
        self.write(file, &bytes)
    }

    fn write(&mut self, file: &mut StateFile, bytes: &[u8]) -> Result<(), StorageError> {
        let appended = self.files.append(&file.name, bytes);
        appended.context("write", &file.name)?;
        file.bytes += bytes.len() as u64;
        self.counts.bytes_written += bytes.len() as u64;
        Ok(())
    }

    /// Removes what a failed call appended.
    fn cut_back(&mut self) {
        let Some(file) = &self.file else { return };
        if self.files.truncate(&file.name, file.bytes).is_err() {
            self.distrust();
        }
    }

    /// Writes nothing more to the current file: only a new one makes changes durable.
    fn distrust(&mut self) {
        self.file = None;
        self.must_compact = true;
    }

    /// Removes the generations before a complete one, and sets damaged ones aside. An error leaves
    /// them for the next recovery, which does the same.
    fn remove_older(&mut self, generation: u64) {
        for name in self.files.list().unwrap_or_default() {
            let Some(parsed) = FileName::parse(&name) else {
                continue;
            };
            if parsed.generation() >= generation || matches!(parsed, FileName::SetAside(_)) {
                continue;
            }
            let _ = if self.damaged.contains(&name) {
                self.files.rename(&name, &format!("{name}.damaged"))
            } else {
                self.files.remove(&name)
            };
        }
        self.damaged.clear();
    }
}
