//! The thread that drives a journal: the disk never delays the server's other threads.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{Span, info, warn};

use crate::format::count;
use crate::gateway::{AcknowledgeLevel, Gateway, StorageProgress, StorageSnapshot};
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
}

impl Stored {
    /// Recovers the feed that is stored in a folder, at the time `now`. See [`recover`].
    pub fn recover(folder: Folder, replica: &mut Replica, now: UnixNanos) -> Self {
        let begun = Instant::now();
        let (journal, report) = recover(folder, replica, now);
        Self {
            journal,
            report,
            clients: replica.store().clients(),
            took: begun.elapsed(),
        }
    }

    /// Returns the progress with which the server starts.
    pub fn progress(&self) -> StorageProgress {
        let unused = |is_it: fn(&UnusedReason) -> bool| {
            let all = self.report.unused.iter();
            all.filter(|file| is_it(&file.reason)).count() as u64
        };
        let recovery = RecoveryStatus {
            reports: self.report.reports,
            bytes: self.report.bytes,
            took: Some(duration(self.took)),
            damaged: self.report.damaged,
            unknown: self.report.unknown,
            bytes_cut: self.report.bytes_cut,
            files_of_other_version: unused(|it| matches!(it, UnusedReason::OtherVersion(_))),
            files_of_other_server: unused(|it| matches!(it, UnusedReason::OtherServer(_))),
            files_unreadable: unused(|it| {
                matches!(it, UnusedReason::Unreadable | UnusedReason::Failed(_))
            }),
        };
        StorageProgress::new(recovery)
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

/// The storage of a running server. It ends, and releases its folder, when it is dropped.
#[derive(Debug)]
pub struct Storage {
    /// Requests to write what is not durable, each answered when that was tried.
    requests: Option<mpsc::Sender<oneshot::Sender<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl Storage {
    /// Starts the thread that writes the changes of a server each `sync`. `span` is that of the
    /// server.
    ///
    /// # Panics
    ///
    /// Panics if the system has no room for a thread.
    pub fn start(stored: Stored, gateway: Arc<Gateway>, sync: Duration, span: Span) -> Self {
        let (requests, received) = mpsc::channel();
        let run = move || {
            let _entered = span.enter();
            let mut stored = stored;
            let folder = stored.journal.files().path().to_owned();
            stored.log(&folder);
            let writer = Writer {
                journal: stored.journal,
                gateway,
                sync,
                snapshot: StorageSnapshot::default(),
                failures: 0,
                failing_since: Instant::now(),
            };
            writer.run(&received);
        };
        let thread = thread::Builder::new().name("storage".to_owned()).spawn(run);
        Self {
            requests: Some(requests),
            thread: Some(thread.expect("the system has room for a thread")),
        }
    }

    /// Tries to write all changes that are not durable, and resolves when that was tried.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        let sent = self.requests.as_ref().map(|requests| requests.send(done));
        if let Some(Ok(())) = sent {
            // An error means that the thread has ended.
            let _ = is_done.await;
        }
    }

    /// Lets the thread end by itself, without a wait for it.
    pub fn detach(&mut self) {
        self.thread = None;
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // The thread ends with its requests, after at most one write.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged a panic.
            let _ = thread.join();
        }
    }
}

struct Writer {
    journal: Journal<Folder>,
    gateway: Arc<Gateway>,
    sync: Duration,
    snapshot: StorageSnapshot,
    /// Number of attempts that failed in a row.
    failures: u32,
    failing_since: Instant,
}

impl Writer {
    fn run(mut self, requests: &mpsc::Receiver<oneshot::Sender<()>>) {
        let mut due = Instant::now();
        loop {
            let is_compacting =
                self.failures == 0 && self.journal.needs_compaction(self.gateway.replica());
            let wait = if is_compacting {
                Duration::ZERO
            } else {
                due.saturating_duration_since(Instant::now())
            };
            match requests.recv_timeout(wait) {
                Ok(done) => {
                    self.flush();
                    // The caller may have given up.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < due => {
                    self.attempt(|journal, replica| journal.compact(replica));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let begun = Instant::now();
                    self.attempt(|journal, replica| {
                        let appended = journal.append(replica);
                        journal.compact(replica).and(appended)
                    });
                    due = begun + self.interval();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.failures > 0 {
                due = Instant::now() + self.interval();
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
        if let Some(progress) = self.gateway.storage() {
            progress.record(self.journal.durable(), self.snapshot.clone());
        }
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
