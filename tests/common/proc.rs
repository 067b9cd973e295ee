//! Memory, processor time and open files of a process.
//!
//! Linux has them in `/proc`. On other systems these functions return `None`, and tests check
//! only behaviour.

use std::fs;
use std::time::Duration;

/// The clock ticks per second, which are fixed on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Returns the resident memory of a process in bytes.
pub fn memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Returns the processor time of all threads of a process.
pub fn cpu_time(id: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is a name in parentheses, which may contain any character.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Returns the number of open files of a process.
pub fn open_files(id: u32) -> Option<usize> {
    fs::read_dir(format!("/proc/{id}/fd"))
        .ok()
        .map(Iterator::count)
}
