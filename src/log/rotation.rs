//! The log file at a path that others may move, remove or fill up, and its old copies.
//!
//! `NAME.log` grows to a limit and becomes `NAME.log.1`, which was `NAME.log.2` before that, and so
//! on up to the number kept. Before each block the path is checked, one system call for thousands
//! of lines, so that a change by logrotate, a person or another process is noticed before anything
//! is written to a file that no longer has a name.
//!
//! The path may be a symbolic link to a file elsewhere: that file is rotated beside itself, and the
//! link stays. The file is locked, so that no two processes rotate it under each other and lose
//! lines; the lock ends with the process. A file system without locks permits two.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memchr::{memchr, memrchr};

/// A log file by its path. Invariants: the data written to one file ends with a line end, unless
/// the disk accepted only part of a line. In that case either the rest of that line is the next
/// data written to that file, or the whole line is written to the next one.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    keep: usize,
    open: OpenFile,
    /// Length at which the file is rotated: `max_bytes`, or more after a failed rotation.
    full_at: u64,
    rotation_fault: Option<io::Error>,
}

impl LogFile {
    /// Opens `path` to append, and creates it and its directory if they are missing.
    pub(super) fn open(path: PathBuf, max_bytes: u64, keep: usize) -> io::Result<LogFile> {
        let open = OpenFile::at(&path)?;
        Ok(LogFile {
            path,
            max_bytes,
            keep,
            open,
            full_at: max_bytes,
            rotation_fault: None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `lines` from the byte `done` on and advances `done`. After an error call it again
    /// with the same arguments: it continues where it stopped. That may be in the middle of a line;
    /// if the file is a new one by then, the line is written again from its start.
    pub(super) fn append(&mut self, lines: &[u8], done: &mut usize) -> io::Result<()> {
        if self.follow_path()? {
            *done = line_start(lines, *done);
        }
        self.open.end_broken_line()?;
        while *done < lines.len() {
            match self.fitting(lines, *done) {
                0 => self.rotate()?,
                piece => self.open.write(&lines[*done..][..piece], done)?,
            }
        }
        Ok(())
    }

    /// Returns the cause of a rotation that failed since the last call. Lines are written to the
    /// old file in that case, and the next rotation is tried when it has grown by the limit again.
    pub(super) fn take_rotation_fault(&mut self) -> Option<io::Error> {
        self.rotation_fault.take()
    }

    /// Makes sure that the open file is the one at the path, and reads its length, which others may
    /// have changed. Returns true if the file is a new one.
    fn follow_path(&mut self) -> io::Result<bool> {
        if let Ok(metadata) = fs::metadata(&self.path)
            && identity(&metadata) == self.open.identity
        {
            self.open.length = metadata.len();
            return Ok(false);
        }
        self.open = OpenFile::at(&self.path)?;
        self.full_at = self.max_bytes;
        Ok(true)
    }

    /// Returns the number of bytes from `done` on that go into the open file: whole lines up to its
    /// limit, and always the rest of a line whose start it holds. An empty file accepts a line of
    /// any length. 0: not even one line fits.
    fn fitting(&self, lines: &[u8], done: usize) -> usize {
        let rest = &lines[done..];
        if !self.open.rotates {
            return rest.len();
        }
        let room = self.full_at.saturating_sub(self.open.length);
        let room = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
        let in_a_line = line_start(lines, done) != done;
        match memrchr(b'\n', &rest[..room]) {
            Some(end) => end + 1,
            None if in_a_line || self.open.length == 0 => first_line(rest),
            None => 0,
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        if let Err(fault) = shift(&self.open.target, self.keep) {
            self.rotation_fault = Some(fault);
            self.full_at = self.open.length.saturating_add(self.max_bytes.max(1));
            return Ok(());
        }
        self.open = OpenFile::at(&self.path)?;
        self.full_at = self.max_bytes;
        Ok(())
    }
}

/// An open file and its identity.
#[derive(Debug)]
struct OpenFile {
    file: File,
    /// The path after symbolic links.
    target: PathBuf,
    identity: (u64, u64),
    length: u64,
    /// False for devices and pipes, which have no length and are not renamed.
    rotates: bool,
    /// Set while the file, as it was opened, ends in the middle of a line that has not been ended
    /// yet.
    broken_line: bool,
}

impl OpenFile {
    fn at(path: &Path) -> io::Result<OpenFile> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() {
            lock(&file)?;
        }
        Ok(OpenFile {
            file,
            target: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            identity: identity(&metadata),
            length: metadata.len(),
            rotates: metadata.is_file(),
            broken_line: metadata.is_file() && ends_in_a_line(path),
        })
    }

    /// Ends a broken line. This is not done when opening: a full disk must not keep a server from
    /// starting.
    fn end_broken_line(&mut self) -> io::Result<()> {
        if self.broken_line {
            self.write(b"\n", &mut 0)?;
            self.broken_line = false;
        }
        Ok(())
    }

    /// Writes all of `bytes` and advances `done` by the number of bytes written, also before an
    /// error.
    fn write(&mut self, bytes: &[u8], done: &mut usize) -> io::Result<()> {
        let before = *done;
        let written = write_counted(&mut self.file, bytes, done);
        self.length += (*done - before) as u64;
        written
    }
}

/// Writes all of `bytes` and advances `done` by the number of bytes written, also before an error.
pub(super) fn write_counted(
    to: &mut impl Write,
    mut bytes: &[u8],
    done: &mut usize,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                *done += written;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Locks a file for this process.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            ErrorKind::ResourceBusy,
            "another process, or another server of this one, writes it",
        )),
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Returns device and inode. While a file is open no other can have the same.
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Returns true if the file ends in the middle of a line, as a killed process may leave it. A file
/// that cannot be read counts as whole.
fn ends_in_a_line(path: &Path) -> bool {
    let last_byte = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        let mut byte = [b'\n'];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last_byte().is_ok_and(|byte| byte != b'\n')
}

/// Moves the file at `path` to number 1 and each numbered file up by one; the file beyond `keep` is
/// removed. Numbers are moved up to the first gap only, so the cost depends on the files that
/// exist.
fn shift(path: &Path, keep: usize) -> io::Result<()> {
    if keep == 0 {
        return fs::remove_file(path);
    }
    let is_free = |&number: &usize| fs::symlink_metadata(numbered(path, number)).is_err();
    let last = (1..keep).find(is_free).unwrap_or(keep);
    for number in (1..last).rev() {
        fs::rename(numbered(path, number), numbered(path, number + 1))?;
    }
    fs::rename(path, numbered(path, 1))
}

/// `NAME.log.NUMBER`
fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Returns the start of the line that contains the byte `at`; `at` itself if it is the first of its
/// line.
fn line_start(lines: &[u8], at: usize) -> usize {
    memrchr(b'\n', &lines[..at]).map_or(0, |end| end + 1)
}

/// Returns the length of the first line, its end included.
fn first_line(lines: &[u8]) -> usize {
    memchr(b'\n', lines).map_or(lines.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tempfile::TempDir;

    fn open(dir: &TempDir, max_bytes: u64, keep: usize) -> LogFile {
        LogFile::open(dir.path().join("Riley.log"), max_bytes, keep).unwrap()
    }

    fn append(file: &mut LogFile, lines: &str) {
        let mut done = 0;
        file.append(lines.as_bytes(), &mut done).unwrap();
        assert_eq!(done, lines.len());
    }

    fn read(dir: &TempDir, name: &str) -> String {
        fs::read_to_string(dir.path().join(name)).unwrap()
    }

    fn names(dir: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn appends_to_an_existing_file() {
        let dir = TempDir::new().unwrap();
        append(&mut open(&dir, 1000, 4), "one\n");
        append(&mut open(&dir, 1000, 4), "two\n");
        assert_eq!(read(&dir, "Riley.log"), "one\ntwo\n");
    }

    #[test]
    fn a_half_line_of_a_killed_process_is_ended_before_the_next_line() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("Riley.log"), "whole\nhal").unwrap();
        append(&mut open(&dir, 1000, 4), "next\n");
        assert_eq!(read(&dir, "Riley.log"), "whole\nhal\nnext\n");
    }

    #[test]
    fn old_files_are_renumbered_and_the_last_one_is_removed() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 8, 2);
        for lines in ["aa\nbb\ncc\ndd\n", "ee\n", "ff\ngg\n", "hh\n"] {
            append(&mut file, lines);
        }
        assert_eq!(names(&dir), ["Riley.log", "Riley.log.1", "Riley.log.2"]);
        assert_eq!(read(&dir, "Riley.log.2"), "cc\ndd\n");
        assert_eq!(read(&dir, "Riley.log.1"), "ee\nff\n");
        assert_eq!(read(&dir, "Riley.log"), "gg\nhh\n");
    }

    #[test]
    fn with_keep_0_the_full_file_is_removed() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 8, 0);
        append(&mut file, "aa\nbb\ncc\n");
        assert_eq!(names(&dir), ["Riley.log"]);
        assert_eq!(read(&dir, "Riley.log"), "cc\n");
    }

    #[test]
    fn a_line_longer_than_max_bytes_has_a_file_of_its_own() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 8, 4);
        append(&mut file, "a\na longer line\nb\n");
        assert_eq!(read(&dir, "Riley.log.2"), "a\n");
        assert_eq!(read(&dir, "Riley.log.1"), "a longer line\n");
        assert_eq!(read(&dir, "Riley.log"), "b\n");
    }

    #[test]
    fn a_removed_directory_is_created_again() {
        let dir = TempDir::new().unwrap();
        let logs = dir.path().join("logs");
        let mut file = LogFile::open(logs.join("Riley.log"), 1000, 4).unwrap();
        append(&mut file, "lost\n");
        fs::remove_dir_all(&logs).unwrap();
        append(&mut file, "kept\n");
        assert_eq!(read(&dir, "logs/Riley.log"), "kept\n");
    }

    #[test]
    fn a_moved_file_is_not_written_and_a_truncated_one_has_room_again() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 12, 4);
        append(&mut file, "one\n");
        fs::rename(dir.path().join("Riley.log"), dir.path().join("old")).unwrap();
        append(&mut file, "two\nthree\n");
        assert_eq!(read(&dir, "old"), "one\n");
        fs::write(dir.path().join("Riley.log"), "").unwrap();
        append(&mut file, "four\n");
        assert_eq!(read(&dir, "Riley.log"), "four\n");
        assert_eq!(names(&dir), ["Riley.log", "old"]);
    }

    #[test]
    fn after_a_failed_rotation_lines_are_appended_to_the_old_file() {
        let dir = TempDir::new().unwrap();
        let in_the_way = dir.path().join("Riley.log.1");
        fs::create_dir(&in_the_way).unwrap();
        let mut file = open(&dir, 8, 1);
        append(&mut file, "aa\nbb\ncc\ndd\n");
        assert!(file.take_rotation_fault().is_some());
        assert!(file.take_rotation_fault().is_none());
        assert_eq!(read(&dir, "Riley.log"), "aa\nbb\ncc\ndd\n");
        fs::remove_dir(&in_the_way).unwrap();
        append(&mut file, "ee\nff\n");
        assert_eq!(read(&dir, "Riley.log.1"), "aa\nbb\ncc\ndd\n");
        assert_eq!(read(&dir, "Riley.log"), "ee\nff\n");
    }

    #[test]
    fn a_line_begun_in_a_file_is_finished_there() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 8, 4);
        let lines = b"one line\ntwo\n";
        // As after an error: the disk accepts the first three bytes and then no more.
        file.open.write(&lines[..3], &mut 0).unwrap();
        file.append(lines, &mut 3).unwrap();
        assert_eq!(read(&dir, "Riley.log.1"), "one line\n");
        assert_eq!(read(&dir, "Riley.log"), "two\n");
    }

    #[test]
    fn a_line_begun_in_a_removed_file_is_written_again_from_its_start() {
        let dir = TempDir::new().unwrap();
        let mut file = open(&dir, 1000, 4);
        let lines = b"one\ntwo\nthree\n";
        file.open.write(&lines[..6], &mut 0).unwrap();
        fs::remove_file(dir.path().join("Riley.log")).unwrap();
        file.append(lines, &mut 6).unwrap();
        assert_eq!(read(&dir, "Riley.log"), "two\nthree\n");
    }

    #[test]
    fn a_file_behind_a_symbolic_link_is_rotated_beside_itself_and_the_link_stays() {
        let dir = TempDir::new().unwrap();
        let (logs, volume) = (dir.path().join("logs"), dir.path().join("volume"));
        fs::create_dir(&logs).unwrap();
        fs::create_dir(&volume).unwrap();
        let link = logs.join("Riley.log");
        std::os::unix::fs::symlink("../volume/riley", &link).unwrap();
        let mut file = LogFile::open(link.clone(), 8, 2).unwrap();
        append(&mut file, "aa\nbb\ncc\n");
        append(&mut file, "dd\nee\n");
        assert!(link.is_symlink());
        assert_eq!(read(&dir, "volume/riley.2"), "aa\nbb\n");
        assert_eq!(read(&dir, "volume/riley.1"), "cc\ndd\n");
        assert_eq!(read(&dir, "volume/riley"), "ee\n");
        assert_eq!(fs::read_dir(&logs).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_another_writes_is_rejected_until_that_one_ends() {
        let dir = TempDir::new().unwrap();
        let mut first = open(&dir, 8, 4);
        let second = || LogFile::open(dir.path().join("Riley.log"), 8, 4);
        assert_eq!(second().unwrap_err().kind(), ErrorKind::ResourceBusy);
        append(&mut first, "aa\nbb\ncc\n");
        // The file is another one after the rotation.
        assert_eq!(second().unwrap_err().kind(), ErrorKind::ResourceBusy);
        drop(first);
        append(&mut second().unwrap(), "dd\n");
        assert_eq!(read(&dir, "Riley.log"), "cc\ndd\n");
    }

    #[test]
    fn a_device_is_written_and_not_rotated() {
        let dir = TempDir::new().unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("Riley.log")).unwrap();
        let mut file = open(&dir, 8, 4);
        append(&mut file, "aa\nbb\ncc\ndd\n");
        append(&mut file, "ee\n");
        assert_eq!(names(&dir), ["Riley.log"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_line_is_lost_or_split_and_no_file_exceeds_max_bytes(
            blocks in prop::collection::vec(prop::collection::vec("[a-z]{0,12}", 1..8), 1..8),
            max_bytes in 1..40u64,
        ) {
            let dir = TempDir::new().unwrap();
            let mut file = open(&dir, max_bytes, 1000);
            let blocks: Vec<String> = blocks
                .iter()
                .map(|lines| lines.iter().map(|line| format!("{line}\n")).collect())
                .collect();
            for block in &blocks {
                append(&mut file, block);
            }
            let mut all = String::new();
            for number in (0..names(&dir).len()).rev() {
                let name = if number == 0 { "Riley.log".into() } else { format!("Riley.log.{number}") };
                let text = read(&dir, &name);
                prop_assert!(text.ends_with('\n'));
                prop_assert!(text.len() as u64 <= max_bytes || text.lines().count() == 1);
                all.push_str(&text);
            }
            prop_assert_eq!(all, blocks.concat());
        }
    }
}
