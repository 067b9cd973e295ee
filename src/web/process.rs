//! What the system knows of this process: Linux tells it under `/proc`, other
//! systems do not, and then nothing is told.

use std::fs;

/// The system's clock ticks in a second: fixed by Linux for all its programs.
const TICKS: f64 = 100.0;

/// Bytes of this process that are in memory.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// How many seconds processors worked for this process, in all its threads.
pub(super) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in brackets, which may hold anything.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// How many files this process has open.
pub(super) fn open_files() -> Option<usize> {
    // One of them is the directory that is read.
    let all = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(all.saturating_sub(1))
}

/// How many files this process may have open.
pub(super) fn most_files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_it_all() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(cpu_seconds().unwrap() >= 0.0);
        let open = open_files().unwrap();
        assert!(open > 0 && open as u64 <= most_files().unwrap());
    }
}
