//! The handle to a server's log.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tracing::Event;

use super::line::LineStyle;
use super::queue::LogQueue;
use super::rotation::LogFile;
use super::settings::LogSettings;
use super::target::LogTarget;
use super::terminal;
use super::writer::{LogWriter, Print};

/// Time that the writer lets lines gather before it writes them. Longer: nearer to the 200 ms that
/// an entry may take; shorter: more and smaller writes.
const GATHER_TIME: Duration = Duration::from_millis(50);

/// Maximum time that [`Log::flush`] waits.
const MAX_FLUSH_WAIT: Duration = Duration::from_secs(2);

/// Maximum time that the drop of the last handle waits for the writer. Much shorter: on a busy
/// machine a process ends before the writer has reported its last faults.
const MAX_CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Maximum length of a server's name, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// A server's log. Clones are handles to the same log. When the last one is dropped, the writer
/// writes the remaining lines and ends; the drop waits for that, at most a second.
#[derive(Clone)]
pub struct Log {
    opened: Option<Arc<OpenLog>>,
}

impl Log {
    /// Opens `NAME.log` in the directory of `settings` for the server of that name, or standard
    /// output, and starts its writer. An existing file is appended to.
    ///
    /// # Errors
    ///
    /// If the name cannot be a file's, or the file cannot be opened, or no thread can be started.
    /// An empty file or directory may remain.
    pub fn open(settings: &LogSettings, server: &str) -> Result<Log, OpenError> {
        Log::open_with(settings, server, Box::new(terminal::print_to_terminal))
    }

    /// Returns a log that holds nothing: every call on it does nothing.
    pub fn off() -> Log {
        Log { opened: None }
    }

    /// Returns true if lines are written now. If false, callers need not format any.
    pub fn is_on(&self) -> bool {
        let opened = self.opened.as_ref();
        opened.is_some_and(|opened| !opened.is_muted.load(Relaxed))
    }

    /// Returns the form of its lines, even if the log is muted now; `None` for a log that is off.
    pub(super) fn style(&self) -> Option<&LineStyle> {
        self.opened.as_ref().map(|opened| &*opened.style)
    }

    /// Returns true if the log goes to standard output.
    pub(super) fn is_on_stdout(&self) -> bool {
        self.style().is_some_and(LineStyle::is_on_stdout)
    }

    /// Appends an event of `server`, whose message and fields as text are `text`.
    pub(super) fn append_event(&self, event: &Event<'_>, server: Option<&str>, text: &[u8]) {
        if let Some(style) = self.style() {
            self.append(&style.event(event, server, text), 1);
        }
    }

    /// Mutes the log, or ends that. A log that is off stays off.
    pub(super) fn mute(&self, is_muted: bool) {
        if let Some(opened) = &self.opened {
            opened.is_muted.store(is_muted, Relaxed);
        }
    }

    /// Appends `count` whole lines, each with its line end. Does not wait for the disk. If 16 MiB
    /// wait for it already they are dropped, and a line in the file gives their number.
    pub fn append(&self, lines: &[u8], count: usize) {
        debug_assert!(
            lines.is_empty() || lines.ends_with(b"\n"),
            "not whole lines"
        );
        let Some(opened) = &self.opened else { return };
        if !lines.is_empty() {
            opened.queue.push(lines, count);
        }
    }

    /// Returns the number of lines dropped since the log was opened.
    pub fn dropped(&self) -> u64 {
        let opened = self.opened.as_ref();
        opened.map_or(0, |opened| opened.queue.dropped())
    }

    /// Waits until everything appended before this call is in the file, at most two seconds.
    /// Returns true if it is, and false if the disk did not take it in time. Blocks its thread: for
    /// the end of a process.
    pub fn flush(&self) -> bool {
        self.flush_within(MAX_FLUSH_WAIT)
    }

    /// Flushes as [`Log::flush`] does, with another limit.
    pub(super) fn flush_within(&self, limit: Duration) -> bool {
        match &self.opened {
            Some(opened) => opened.queue.flush(limit),
            None => true,
        }
    }

    /// Returns a handle that does not keep the log open. `None` for a log that is off.
    pub(super) fn downgrade(&self) -> Option<WeakLog> {
        let opened = self.opened.as_ref()?;
        Some(WeakLog(Arc::downgrade(opened)))
    }

    fn open_with(settings: &LogSettings, server: &str, print: Print) -> Result<Log, OpenError> {
        if !is_file_name(server) {
            return Err(OpenError::Name(server.to_owned()));
        }
        let target = if settings.is_on_stdout() {
            LogTarget::Stdout
        } else {
            let path = settings.dir.join(format!("{server}.log"));
            let file = LogFile::open(path.clone(), settings.max_bytes, settings.keep)
                .map_err(|cause| OpenError::File { path, cause })?;
            LogTarget::File(file)
        };
        let style = Arc::new(LineStyle::new(settings, server));
        let queue = Arc::new(LogQueue::new(GATHER_TIME));
        let ended = LogWriter::start(server, Arc::clone(&queue), target, style.clone(), print);
        let ended = ended.map_err(OpenError::Thread)?;
        Ok(Log {
            opened: Some(Arc::new(OpenLog {
                queue,
                style,
                is_muted: AtomicBool::new(false),
                ended: Mutex::new(ended),
            })),
        })
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Log(on)" } else { "Log(off)" })
    }
}

/// A handle to a [`Log`] that does not keep it open.
#[derive(Clone, Debug)]
pub(super) struct WeakLog(Weak<OpenLog>);

impl WeakLog {
    /// Returns the log, if it is still open.
    pub(super) fn upgrade(&self) -> Option<Log> {
        let opened = self.0.upgrade()?;
        Some(Log {
            opened: Some(opened),
        })
    }
}

/// The error of a log that cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The server's name cannot be the name of a file.
    Name(String),
    /// The file, or its directory, cannot be created or opened.
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// The writer's thread cannot be started.
    Thread(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Name(name) => write!(
                f,
                "{name:?} cannot name a log file; a server's name is 1 to {MAX_NAME_BYTES} ASCII \
                 letters, digits and hyphens"
            ),
            OpenError::File { path, cause } if cause.kind() == io::ErrorKind::ResourceBusy => {
                write!(
                    f,
                    "cannot open the log {}: {cause}; stop the other one, or name another \
                     directory as `dir` in [log]",
                    path.display()
                )
            }
            OpenError::File { path, cause } if is_out_of_files(cause) => write!(
                f,
                "cannot open the log {}: {cause}; raise the limit on open files (ulimit -n)",
                path.display()
            ),
            OpenError::File { path, cause } => write!(
                f,
                "cannot open the log {}: {cause}; name a directory that can be written to as `dir` \
                 in [log], or set `level` there to \"off\"",
                path.display()
            ),
            OpenError::Thread(cause) => {
                write!(f, "cannot start a thread to write the log: {cause}")
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Name(_) => None,
            OpenError::File { cause, .. } | OpenError::Thread(cause) => Some(cause),
        }
    }
}

/// Returns true if the process, or the system, has as many open files as it may.
fn is_out_of_files(error: &io::Error) -> bool {
    // ENFILE and EMFILE of Unix systems.
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Returns true if `server` is a valid file name: no separators and no dots, so that no name leads
/// out of the directory.
fn is_file_name(server: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&server.len())
        && server
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The state that clones of a [`Log`] share; dropped with the last of them.
struct OpenLog {
    queue: Arc<LogQueue>,
    style: Arc<LineStyle>,
    is_muted: AtomicBool,
    /// Disconnects when the writer ends.
    ended: Mutex<Receiver<Infallible>>,
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        self.queue.close();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(MAX_CLOSE_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::queue::MAX_WAITING_BYTES;
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::Instant;
    use std::{fs, thread};
    use tempfile::TempDir;

    fn settings(dir: &Path) -> LogSettings {
        LogSettings {
            dir: dir.to_owned(),
            ..LogSettings::default()
        }
    }

    fn read(dir: &Path) -> String {
        fs::read_to_string(dir.join("Riley.log")).unwrap_or_default()
    }

    /// The time after which a wait for a condition fails its test.
    const LIMIT: Duration = Duration::from_secs(30);

    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "the condition never holds");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Opens a log in `dir`. Also returns its messages on the terminal.
    fn open_with_messages(dir: &Path) -> (Log, mpsc::Receiver<String>) {
        let (sender, messages) = mpsc::channel();
        let print = move |line: &[u8]| {
            let _ = sender.send(String::from_utf8_lossy(line).into_owned());
        };
        let log = Log::open_with(&settings(dir), "Riley", Box::new(print)).unwrap();
        (log, messages)
    }

    #[test]
    fn flushed_lines_are_in_the_file() {
        let dir = TempDir::new().unwrap();
        let log = Log::open(&settings(dir.path()), "Riley").unwrap();
        assert!(log.flush());
        for n in 0..5 {
            log.append(format!("{n}\n").as_bytes(), 1);
            log.append(b"and\nmore\n", 2);
            assert!(log.flush());
            assert!(read(dir.path()).ends_with(&format!("{n}\nand\nmore\n")));
        }
    }

    #[test]
    fn a_log_that_is_off_does_nothing() {
        let log = Log::off();
        assert!(!log.is_on());
        log.append(b"line\n", 1);
        assert!(log.flush());
        assert!(log.downgrade().is_none());
    }

    #[test]
    fn lines_are_written_without_a_flush_and_after_the_last_handle_is_dropped() {
        let dir = TempDir::new().unwrap();
        let log = Log::open(&settings(dir.path()), "Riley").unwrap();
        log.append(b"one\n", 1);
        wait_until(|| read(dir.path()) == "one\n");
        let weak = log.downgrade().unwrap();
        let other = log.clone();
        drop(log);
        other.append(b"two\n", 1);
        assert!(weak.upgrade().is_some());
        drop(other);
        assert!(weak.upgrade().is_none());
        wait_until(|| read(dir.path()) == "one\ntwo\n");
    }

    /// Each thread's lines are numbered; all are in the files whole, in order, in files of bounded
    /// length.
    #[test]
    fn rotation_loses_and_splits_no_line_of_concurrent_appenders() {
        const THREADS: usize = 4;
        const LINES: usize = 20_000;
        let dir = TempDir::new().unwrap();
        let small = LogSettings {
            max_bytes: 64 * 1024,
            keep: 1000,
            ..settings(dir.path())
        };
        let log = Log::open(&small, "Riley").unwrap();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let log = log.clone();
                scope.spawn(move || {
                    for n in (0..LINES).step_by(2) {
                        let lines = format!("{thread} {n}\n{thread} {}\n", n + 1);
                        log.append(lines.as_bytes(), 2);
                    }
                });
            }
        });
        assert!(log.flush());
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert!(files > 5, "{files}");
        let mut next = [0; THREADS];
        for number in (0..files).rev() {
            let suffix = (number > 0).then(|| format!(".{number}"));
            let name = format!("Riley.log{}", suffix.unwrap_or_default());
            let text = fs::read_to_string(dir.path().join(name)).unwrap();
            assert!(text.len() <= 64 * 1024 && text.ends_with('\n'));
            for line in text.lines() {
                let (thread, n) = line.split_once(' ').unwrap();
                let thread: usize = thread.parse().unwrap();
                assert_eq!(n.parse(), Ok(next[thread]));
                next[thread] += 1;
            }
        }
        assert_eq!(next, [LINES; THREADS]);
    }

    /// The disk is full until more lines are appended than memory may hold; then it has room again.
    #[test]
    fn lines_that_do_not_fit_in_memory_beside_a_full_disk_are_counted_in_the_file() {
        const LINES: u64 = 3 * (MAX_WAITING_BYTES / 1024) as u64;
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("Riley.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let (log, messages) = open_with_messages(dir.path());
        for n in 0..LINES {
            log.append(format!("{n:01023}\n").as_bytes(), 1);
        }
        assert!(!log.flush(), "nothing can be in the file");
        let warning = messages.recv_timeout(LIMIT).unwrap();
        assert!(warning.starts_with("warning: Riley: cannot write the log "));
        assert!(warning.contains("No space left on device"), "{warning}");

        fs::remove_file(&path).unwrap();
        wait_until(|| log.flush());
        log.append(b"after\n", 1);
        assert!(log.flush());
        let text = read(dir.path());
        let (mut kept, mut missing) = (0, 0);
        for line in text.lines() {
            if let Some((_, note)) = line.split_once("Z WARN  ") {
                let (count, _) = note.split_once(" lines are missing here").unwrap();
                missing += count.parse::<u64>().unwrap();
            } else if line != "after" {
                assert_eq!(
                    line.parse(),
                    Ok(kept + missing),
                    "order, and the gap's place"
                );
                kept += 1;
            }
        }
        assert!(missing > 0, "the test did not fill the queue");
        assert_eq!(kept + missing, LINES);
        assert!(text.ends_with("\nafter\n"));
        let end = messages.recv_timeout(LIMIT).unwrap();
        let expected = format!("Riley: the log is written again; {missing} lines are missing\n");
        assert_eq!(end, expected);
        assert!(messages.try_recv().is_err(), "one outage has one report");
    }

    #[test]
    fn a_log_closed_on_a_full_disk_reports_the_number_of_lost_lines() {
        let dir = TempDir::new().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("Riley.log")).unwrap();
        let (log, messages) = open_with_messages(dir.path());
        log.append(b"one\ntwo\n", 2);
        assert!(!log.flush(), "a fault ends the wait");
        log.append(b"three\n", 1);
        drop(log);
        let first = messages.recv_timeout(LIMIT).unwrap();
        assert!(first.contains("cannot write"), "{first}");
        let last = messages.recv_timeout(LIMIT).unwrap();
        assert!(last.contains("up to 3 last lines"), "{last}");
        assert!(
            messages.recv_timeout(LIMIT).is_err(),
            "the writer has ended"
        );
    }

    #[test]
    fn an_error_of_opening_names_the_cause_and_the_correction() {
        const LONG: &str = "a-name-of-sixty-four-letters-and-hyphens-which-is-one-too-many--";
        let dir = TempDir::new().unwrap();
        let open =
            |dir: &Path, name: &str| Log::open(&settings(dir), name).unwrap_err().to_string();
        for name in ["", "../Riley", "a.b", "a\nb", LONG] {
            assert!(open(dir.path(), name).contains("cannot name a log file"));
        }
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = open(&file.join("logs"), "Riley");
        assert!(
            error.contains("file/logs/Riley.log: Not a directory"),
            "{error}"
        );
        assert!(error.contains("`dir` in [log]"), "{error}");
    }
}
