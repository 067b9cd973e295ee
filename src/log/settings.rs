//! Where logs are kept, and how much of them.

use std::path::PathBuf;

/// Where a server keeps its log, and how much of it. Any values work; the bounds given below are for
/// whoever reads them from a config and can say what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The directory of the log files, made if it is not there; relative to the working directory.
    /// Default: `logs`.
    pub dir: PathBuf,
    /// Size in bytes past which a file is not grown: the line that would is the first of a new one.
    /// Default: 64 MiB; at least [`LogSettings::MIN_BYTES`]. Too high: files that are slow to open and a
    /// disk that fills; too low: a busy server renames files all the time and remembers seconds only.
    pub max_bytes: u64,
    /// How many old files are kept beside the current one, `NAME.log.1` being the newest. Default: 4;
    /// at most [`LogSettings::MAX_KEEP`]; 0 keeps the current file only. Too high: disk (a server uses up
    /// to `max_bytes` times `keep` plus one); too low: less history. After it is lowered, the
    /// files past it stay until somebody removes them.
    pub keep: usize,
}

impl LogSettings {
    /// The least sensible `max_bytes`: 64 KiB, a few hundred lines.
    pub const MIN_BYTES: u64 = 64 * 1024;
    /// The largest sensible `keep`: each rotation renames that many files.
    pub const MAX_KEEP: usize = 1000;
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            dir: PathBuf::from("logs"),
            max_bytes: 64 * 1024 * 1024,
            keep: 4,
        }
    }
}
