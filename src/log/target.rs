//! The place that a log is written to: a file, or standard output.

use std::fmt;
use std::io;

use crate::output::PatientWriter;

use super::rotation::{LogFile, write_counted};

/// The place that a log is written to.
#[derive(Debug)]
pub(super) enum LogTarget {
    /// A file, which is rotated.
    File(LogFile),
    /// Standard output. Several logs may write to it: each block of lines stays whole.
    Stdout,
}

impl LogTarget {
    /// Writes `lines` from the byte `done` on and advances `done`. After an error call it again
    /// with the same arguments: it continues where it stopped.
    pub(super) fn append(&mut self, lines: &[u8], done: &mut usize) -> io::Result<()> {
        match self {
            Self::File(file) => file.append(lines, done),
            Self::Stdout => {
                // Held until all is written, so that no other log writes into a line.
                let mut stdout = PatientWriter(io::stdout().lock());
                write_counted(&mut stdout, &lines[*done..], done)
            }
        }
    }

    /// Returns the cause of a rotation that failed since the last call.
    pub(super) fn take_rotation_fault(&mut self) -> Option<io::Error> {
        match self {
            Self::File(file) => file.take_rotation_fault(),
            Self::Stdout => None,
        }
    }

    /// Returns what is too slow if lines are dropped.
    pub(super) fn bottleneck(&self) -> &'static str {
        match self {
            Self::File(_) => "the disk",
            Self::Stdout => "the reader of standard output",
        }
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.path().display().fmt(f),
            Self::Stdout => f.write_str("to standard output"),
        }
    }
}
