//! Resources of this process, as Linux reports them under `/proc`.

use std::fs;

use crate::metrics::Metric;
use crate::metrics::Series::One;

/// Clock ticks per second in `/proc`, the same on all Linux systems.
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics of the process. Servers of one process (`up`) have the same values.
pub(super) const PROCESS_METRICS: &[Metric<ProcessResources>] = &[
    Metric::gauge(
        "proxyherd_process_resident_memory_bytes",
        "Memory of the process.",
        One(|process| process.resident_bytes as f64),
    ),
    Metric::counter(
        "proxyherd_process_cpu_seconds_total",
        "CPU time of the process.",
        One(|process| process.cpu_seconds),
    ),
    Metric::gauge(
        "proxyherd_process_open_files",
        "Open files of the process, connections included.",
        One(|process| process.open_files as f64),
    ),
    Metric::gauge(
        "proxyherd_process_open_files_limit",
        "Maximum number of open files.",
        One(|process| process.max_open_files as f64),
    ),
];

/// Resources that the process uses.
#[derive(Debug)]
pub(super) struct ProcessResources {
    resident_bytes: u64,
    /// User and system time of all threads.
    cpu_seconds: f64,
    open_files: usize,
    max_open_files: u64,
}

impl ProcessResources {
    /// Reads the current numbers. Returns `None` on systems other than Linux.
    pub(super) fn read() -> Option<Self> {
        Some(Self {
            resident_bytes: resident_bytes()?,
            cpu_seconds: cpu_seconds()?,
            open_files: open_files()?,
            max_open_files: max_open_files()?,
        })
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may contain anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn open_files() -> Option<usize> {
    // One of them is the directory being read.
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(entries.saturating_sub(1))
}

fn max_open_files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_reports_all_resources() {
        let process = ProcessResources::read().unwrap();
        assert!(process.resident_bytes > 100_000);
        assert!(process.cpu_seconds >= 0.0);
        assert!(process.open_files > 0);
        assert!(process.open_files as u64 <= process.max_open_files);
    }
}
