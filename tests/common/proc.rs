//! What the system knows of a process: its memory, its time, its files.
//!
//! Linux tells this under `/proc`. Elsewhere it is not known, and tests check
//! behaviour alone.

use std::fs;
use std::time::Duration;

/// The system's clock ticks in a second: fixed by Linux for all its programs.
const TICKS: u64 = 100;

/// Bytes of a process that are in memory.
pub fn memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// How long processors worked for a process, all its threads together.
pub fn cpu_time(id: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is a name in brackets, which may hold anything.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// How many files a process has open.
pub fn open_files(id: u32) -> Option<usize> {
    fs::read_dir(format!("/proc/{id}/fd"))
        .ok()
        .map(Iterator::count)
}
