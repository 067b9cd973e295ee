//! The thread that drives a journal: the disk never delays the server's other threads.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{Span, info, warn};

use crate::format::count;
use crate::gateway::{AcknowledgeLevel, Gateway, StorageProgress, StorageSnapshot, WriteRequest};
use crate::model::timestamp::UnixNanos;
use crate::proto::RecoveryStatus;
use crate::proto::time::duration;
use crate::replication::replica::Replica;

use super::files::StorageError;
use super::folder::Folder;
use super::journal::Journal;
use super::recovery::{RecoveryReport, UnusedReason, recover};

/// Maximum time between two attempts to write to a disk that fails.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The storage of a server whose feed was recovered, before it writes.
#[derive(Debug)]
pub struct Stored {
    journal: Journal<Folder>,
    report: RecoveryReport,
    clients: usize,
    took: Duration,
    progress: Arc<StorageProgress>,
}

impl Stored {
    /// Recovers the feed that is stored in a folder, at the time `now`. See [`recover`].
    pub fn recover(folder: Folder, replica: &mut Replica, now: UnixNanos) -> Self {
        let begun = Instant::now();
        let (journal, report) = recover(folder, replica, now);
        let took = begun.elapsed();
        let status = recovery_status(&report, took);
        Self {
            journal,
            report,
            clients: replica.store().clients(),
            took,
            progress: Arc::new(StorageProgress::new(status)),
        }
    }

    /// Returns the progress of the storage, which has written nothing yet.
    pub fn progress(&self) -> Arc<StorageProgress> {
        self.progress.clone()
    }

    fn log(&self, folder: &Path) {
        let report = &self.report;
        let folder = folder.display();
        if report.bytes == 0 && report.unused.is_empty() {
            return info!("stores reports in {folder}, which was empty");
        }
        info!(
            "recovered {} from {folder} in {:.3} s ({} read)",
            count(self.clients as u64, "client"),
            self.took.as_secs_f64(),
            count(report.reports, "report"),
        );
        if report.bytes_cut > 0 {
            info!(
                "left out {} of an unfinished write at the end of the storage",
                count(report.bytes_cut, "byte")
            );
        }
        if report.damaged + report.unknown > 0 {
            warn!(
                "the storage in {folder} is damaged in {}: the reports there are lost, unless a \
                 neighbour has them; a new file is written, and the damaged one stays as \
                 *.damaged; check the disk",
                count(report.damaged + report.unknown, "place")
            );
        }
        for file in &report.unused {
            let name = &file.name;
            match &file.reason {
                UnusedReason::OtherVersion(version) => warn!(
                    "{folder}/{name} has version {version} of the format and was set aside: this \
                     program reads version {}; use the program that wrote it",
                    super::format::FORMAT_VERSION
                ),
                UnusedReason::OtherServer(other) => warn!(
                    "{folder}/{name} belongs to {other} and was set aside; give each server its \
                     own \"dir\" under [storage]"
                ),
                UnusedReason::Unreadable => warn!(
                    "{folder}/{name} holds no readable report and was set aside; check the disk"
                ),
                UnusedReason::Failed(error) => warn!(
                    "cannot read {folder}/{name}: {error}; started without what is only there; \
                     check the disk, and the owner of the files"
                ),
            }
        }
    }
}

/// Returns what was found at the start, as a message.
fn recovery_status(report: &RecoveryReport, took: Duration) -> RecoveryStatus {
    let unused = |is_it: fn(&UnusedReason) -> bool| {
        let all = report.unused.iter();
        all.filter(|file| is_it(&file.reason)).count() as u64
    };
    RecoveryStatus {
        reports: report.reports,
        bytes: report.bytes,
        took: Some(duration(took)),
        damaged: report.damaged,
        unknown: report.unknown,
        bytes_cut: report.bytes_cut,
        files_of_other_version: unused(|it| matches!(it, UnusedReason::OtherVersion(_))),
        files_of_other_server: unused(|it| matches!(it, UnusedReason::OtherServer(_))),
        files_unreadable: unused(|it| {
            matches!(it, UnusedReason::Unreadable | UnusedReason::Failed(_))
        }),
    }
}

/// The storage of a running server. It ends, and releases its folder, when it is dropped.
#[derive(Debug)]
pub struct Storage {
    progress: Arc<StorageProgress>,
    thread: Option<JoinHandle<()>>,
}

impl Storage {
    /// Starts the thread that writes the changes of a server each `sync`, and as soon as answers
    /// wait for that. `span` is that of the server.
    ///
    /// # Panics
    ///
    /// Panics if the system has no room for a thread.
    pub fn start(stored: Stored, gateway: Arc<Gateway>, sync: Duration, span: Span) -> Self {
        let progress = stored.progress();
        let run = move || {
            let _entered = span.enter();
            let mut stored = stored;
            let folder = stored.journal.files().path().to_owned();
            stored.log(&folder);
            let writer = Writer {
                journal: stored.journal,
                gateway,
                progress: stored.progress,
                sync,
                snapshot: StorageSnapshot::default(),
                failures: 0,
                failing_since: Instant::now(),
            };
            writer.run();
        };
        let thread = thread::Builder::new().name("storage".to_owned()).spawn(run);
        Self {
            progress,
            thread: Some(thread.expect("the system has room for a thread")),
        }
    }

    /// Tries to write all changes that are not durable, and resolves when that was tried.
    pub async fn flush(&self) {
        // An error means that the thread has ended.
        let _ = self.progress.flush().await;
    }

    /// Lets the thread write now, to a disk that fails too, without a wait for it.
    pub fn retry(&self) {
        drop(self.progress.flush());
    }

    /// Lets the thread end by itself, without a wait for it.
    pub fn detach(&mut self) {
        self.thread = None;
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // The thread ends after at most one write.
        self.progress.close();
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged a panic.
            let _ = thread.join();
        }
    }
}

struct Writer {
    journal: Journal<Folder>,
    gateway: Arc<Gateway>,
    progress: Arc<StorageProgress>,
    sync: Duration,
    snapshot: StorageSnapshot,
    /// Number of attempts that failed in a row.
    failures: u32,
    failing_since: Instant,
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nobody waits for a thread that panicked.
        self.progress.close();
    }
}

impl Writer {
    fn run(mut self) {
        let mut due = Instant::now();
        loop {
            let is_failing = self.failures > 0;
            let is_compacting =
                !is_failing && self.journal.needs_compaction(self.gateway.replica());
            let wait = if is_compacting {
                Duration::ZERO
            } else {
                due.saturating_duration_since(Instant::now())
            };
            // A disk that fails is tried when that is due, whoever waits for it.
            match self.progress.next_request(wait, is_failing) {
                WriteRequest::Flush(callers) => {
                    self.flush();
                    for done in callers {
                        // The caller may have given up.
                        let _ = done.send(());
                    }
                    if self.failures > 0 {
                        due = Instant::now() + self.interval();
                    }
                }
                WriteRequest::None if Instant::now() < due => {
                    self.attempt(|journal, replica| journal.compact(replica));
                    if self.failures > 0 {
                        due = Instant::now() + self.interval();
                    }
                }
                WriteRequest::None | WriteRequest::Wanted => {
                    let begun = Instant::now();
                    self.attempt(|journal, replica| {
                        let appended = journal.append(replica);
                        journal.compact(replica).and(appended)
                    });
                    due = begun + self.interval();
                }
                WriteRequest::Closed => return,
            }
        }
    }

    /// Writes all changes that are not durable, if the disk works.
    fn flush(&mut self) {
        let last = self.gateway.replica().store().last();
        loop {
            self.attempt(|journal, replica| {
                journal.append(replica)?;
                // Without a file that is trusted, only a new one makes changes durable.
                if journal.durable() < last {
                    journal.compact(replica)?;
                }
                Ok(())
            });
            if self.failures > 0 || self.journal.durable() >= last {
                return;
            }
        }
    }

    /// Returns the time from one attempt to the next.
    fn interval(&self) -> Duration {
        let factor = 1 << self.failures.min(16);
        let longest = MAX_RETRY_INTERVAL.max(self.sync);
        self.sync.saturating_mul(factor).min(longest)
    }

    fn attempt(
        &mut self,
        write: impl FnOnce(&mut Journal<Folder>, &Replica) -> Result<(), StorageError>,
    ) {
        let result = write(&mut self.journal, self.gateway.replica());
        self.note(result);
        for name in self.journal.take_set_aside() {
            let folder = self.journal.files().path().display();
            warn!(
                "{folder}/{name} could not be read at the start and was set aside; merge it with \
                 \"proxyherd import {folder}/{name}\""
            );
        }
        let counts = self.journal.counts();
        let (bytes, files) = self.journal.size();
        self.snapshot = StorageSnapshot {
            bytes,
            files,
            bytes_written: counts.bytes_written,
            syncs: counts.syncs,
            compactions: counts.compactions,
            ..std::mem::take(&mut self.snapshot)
        };
        self.progress
            .record(self.journal.durable(), self.snapshot.clone());
    }

    /// Logs the beginning and the end of an outage.
    fn note(&mut self, result: Result<(), StorageError>) {
        match result {
            Ok(()) => {
                if self.failures > 0 {
                    info!(
                        "storage works again, after {:.0} s; what was missing is on the disk",
                        self.failing_since.elapsed().as_secs_f64()
                    );
                }
                self.failures = 0;
                self.snapshot.error.clear();
                self.snapshot.succeeded_at = Some(Instant::now());
            }
            Err(error) => {
                if self.failures == 0 {
                    self.failing_since = Instant::now();
                    let level = self.gateway.settings().gateway.acknowledge;
                    let answers = match level {
                        AcknowledgeLevel::Disk => ", and clients get their answers then",
                        AcknowledgeLevel::Received | AcknowledgeLevel::Neighbour => "",
                    };
                    warn!(
                        "{error} in {}; reports are kept in memory and written when the disk works \
                         again{answers}",
                        self.journal.files().path().display()
                    );
                }
                self.failures = self.failures.saturating_add(1);
                self.snapshot.errors += 1;
                self.snapshot.error = error.to_string();
            }
        }
    }
}
