//! The settings of logs.

use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;

/// The level of events in logs unless the operator configures another.
pub const DEFAULT_LEVEL: LevelFilter = LevelFilter::INFO;

/// The directory that stands for standard output.
const STDOUT: &str = "-";

/// The form of the lines of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// A JSON object in each line, for programs.
    Json,
}

impl LogFormat {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// Returns the name, as in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The place, the format and the size of a server's log. Any values work; the bounds below are for
/// callers that read them from a config and can report values out of bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The directory of the log files, created if it is missing; relative to the working directory.
    /// `-` stands for standard output, which all servers of a process share. Default: `logs`.
    pub dir: PathBuf,
    /// The form of the lines. Default: text.
    pub format: LogFormat,
    /// Maximum size of a file in bytes: the line that would exceed it is the first of a new file.
    /// Default: 64 MiB; at least [`LogSettings::MIN_BYTES`]. Too high: files that are slow to open
    /// and a disk that fills; too low: a busy server renames files all the time and keeps only
    /// seconds.
    pub max_bytes: u64,
    /// Number of old files kept beside the current one, `NAME.log.1` being the newest. Default: 4;
    /// at most [`LogSettings::MAX_KEEP`]; 0 keeps the current file only. Too high: disk space (a
    /// server uses up to `max_bytes` times `keep` plus one); too low: less history. After it is
    /// lowered, the files beyond it stay until they are removed by hand.
    pub keep: usize,
}

impl LogSettings {
    /// Minimum sensible `max_bytes`: 64 KiB, a few hundred lines.
    pub const MIN_BYTES: u64 = 64 * 1024;
    /// Maximum sensible `keep`: each rotation renames that many files.
    pub const MAX_KEEP: usize = 1000;

    /// Returns true if the log goes to standard output and not to files.
    pub fn is_on_stdout(&self) -> bool {
        self.dir == Path::new(STDOUT)
    }
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            dir: PathBuf::from("logs"),
            format: LogFormat::default(),
            max_bytes: 64 * 1024 * 1024,
            keep: 4,
        }
    }
}
