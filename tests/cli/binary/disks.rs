//! Logs that cannot be written: the disk is full, the directory is gone.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::T;
use crate::common::{Client, Process, Site, Topology, all_the_while, eventually, memory};

const ALONE: Topology<'static> = (&["Riley"], &[]);

/// The message about a log that cannot be written.
const WARNING: &str = "cannot write the log";

/// Several times the interval between attempts to write: time for each to be reported.
const SEVERAL_ATTEMPTS: Duration = Duration::from_secs(1);

/// Riley, whose log is on a disk that is always full.
fn on_a_full_disk() -> (Site, Process) {
    let make = || {
        let site = Site::new(ALONE, "");
        fs::create_dir(site.path("logs")).unwrap();
        symlink("/dev/full", site.path("logs/Riley.log")).unwrap();
        site
    };
    Site::start(make, |site| site.run(&["up"]))
}

/// Sends numbered lines, and checks that each is answered.
fn send_lines(client: &mut Client, what: &str, count: usize) {
    for n in 0..count {
        let line = format!("{what} {n:05}");
        assert_eq!(client.ask(&line), format!("? {line}"));
    }
}

/// Waits until the log has the last of those lines and its answer, and checks that it has
/// each of the others once.
#[track_caller]
fn await_lines(site: &Site, what: &str, count: usize) {
    site.await_log("Riley", &format!(" out ? {what} {:05}", count - 1));
    let log = site.log("Riley");
    for direction in ["in  ", "out ? "] {
        let output = format!(" {direction}{what} ");
        let numbers: Vec<_> = log
            .lines()
            .filter_map(|line| line.split_once(&output))
            .map(|(_, number)| number.parse::<usize>().unwrap())
            .collect();
        assert!(
            numbers.iter().copied().eq(0..count),
            "{output:?}: {numbers:?}"
        );
    }
}

#[track_caller]
fn assert_warned_once(process: &Process) {
    assert_eq!(
        process.stderr().matches(WARNING).count(),
        1,
        "{}",
        process.stderr()
    );
}

#[test]
fn on_a_full_disk_serving_continues_with_one_warning_and_no_line_is_lost() {
    let (site, process) = on_a_full_disk();
    let mut client = site.client("Riley");
    send_lines(&mut client, "first", 200);
    process.await_stderr(WARNING);
    let output = process.stderr();
    assert!(
        output.contains("logs/Riley.log: No space left on device"),
        "{output}"
    );
    all_the_while(SEVERAL_ATTEMPTS, || assert_warned_once(&process));
    send_lines(&mut client, "second", 200);
    assert_warned_once(&process);

    // The disk has room again.
    fs::remove_file(site.path("logs/Riley.log")).unwrap();
    send_lines(&mut client, "third", 10);
    for (what, count) in [("first", 200), ("second", 200), ("third", 10)] {
        await_lines(&site, what, count);
    }
    assert_warned_once(&process);
}

#[test]
fn lines_that_exceed_the_backlog_are_counted_and_memory_is_bounded() {
    /// Each line makes about 8 KB of log: ten times the maximum backlog.
    const LINES: usize = 20_000;
    let (site, process) = on_a_full_disk();
    let mut client = site.client("Riley");
    send_lines(&mut client, "first", 1);
    process.await_stderr(WARNING);
    let before = memory(process.id());
    let text = "x".repeat(4000);
    let mut sender = client.sender();
    let line = format!("{text}\n");
    let sending = thread::spawn(move || {
        for _ in 0..LINES {
            std::io::Write::write_all(&mut sender, line.as_bytes()).unwrap();
        }
    });
    for _ in 0..LINES {
        assert!(client.text().ends_with(&text));
    }
    sending.join().unwrap();
    if let (Some(before), Some(now)) = (before, memory(process.id())) {
        let grown = now.saturating_sub(before) >> 20;
        println!("{grown} MiB more");
        // The backlog, and memory that the allocator has not returned yet.
        assert!(grown < 80, "{grown} MiB more");
    }
    assert_warned_once(&process);

    fs::remove_file(site.path("logs/Riley.log")).unwrap();
    let missing = site.await_log("Riley", "lines are missing here: the disk did not keep up");
    let (_, message) = missing.split_once(" WARN  ").unwrap();
    let (missing, _) = message.split_once(' ').unwrap();
    let missing: usize = missing.parse().unwrap();
    send_lines(&mut client, "last", 1);
    await_lines(&site, "last", 1);
    let log = site.log("Riley");
    let present = log.matches(&text).count();
    println!("{present} lines are present, {missing} are missing");
    assert_eq!(present + missing, 2 * LINES, "each line and its answer");
    let status = Process::run(&mut site.command(&["status", "--json"])).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    let riley = &status["servers"][0]["status"];
    assert_eq!(riley["log_lines_dropped"], missing);
    eventually("the recovery is reported", || {
        let output = process.stderr();
        output
            .contains(&format!(
                "Riley: the log is written again; {missing} lines are missing\n"
            ))
            .then_some(())
    });
    assert_warned_once(&process);
}

#[test]
fn a_log_directory_that_cannot_be_made_is_reported_once_and_made_as_soon_as_possible() {
    let (site, process) = Site::up(ALONE, "");
    let mut client = site.client("Riley");
    send_lines(&mut client, "first", 1);
    await_lines(&site, "first", 1);
    // A file of that name stops even root.
    fs::rename(site.path("logs"), site.path("moved")).unwrap();
    fs::write(site.path("logs"), "in the way").unwrap();
    send_lines(&mut client, "second", 200);
    process.await_stderr(WARNING);
    all_the_while(SEVERAL_ATTEMPTS, || assert_warned_once(&process));
    send_lines(&mut client, "third", 200);
    assert_warned_once(&process);
    fs::remove_file(site.path("logs")).unwrap();
    await_lines(&site, "third", 200);
    await_lines(&site, "second", 200);
}

#[test]
fn a_server_stops_on_a_full_disk_and_reports_the_lost_lines() {
    let (site, process) = on_a_full_disk();
    let answer = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    assert!(answer.starts_with("AT Riley "), "{answer}");
    process.await_stderr(WARNING);
    process.signal("TERM");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("last lines of the log are lost: No space left"),
        "{ended:?}"
    );
}

/// Uses a disk of a few pages in a mount namespace of the program.
#[test]
fn on_a_disk_that_fills_up_no_line_is_broken_and_logging_resumes_when_files_go() {
    let script = "mount -t tmpfs -o size=256k none logs && exec \"$@\"";
    let make = || {
        let site = Site::new(ALONE, "[log]\nmax_bytes = 65536\nkeep = 1000\n");
        fs::create_dir(site.path("logs")).unwrap();
        site
    };
    let may_mount = Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t tmpfs none /mnt"])
        .output();
    if !may_mount.is_ok_and(|tried| tried.status.success()) {
        return println!("skipped: this user may not mount a disk");
    }
    let (site, process) = Site::start(make, |site| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_proxyherd"));
        command.args(["up", "--config", "herd.toml"]);
        command.current_dir(site.path("")).env_remove("RUST_LOG");
        Process::spawn(&mut command).serving()
    });
    // The program's own view of its files.
    let logs = site.path("logs");
    let logs = format!("/proc/{}/root{}", process.id(), logs.display());
    let mut client = site.client("Riley");
    const LINES: usize = 4000;
    send_lines(&mut client, "full", LINES);
    process.await_stderr(WARNING);
    all_the_while(SEVERAL_ATTEMPTS, || assert_warned_once(&process));
    let read = || -> String {
        let mut files: Vec<_> = fs::read_dir(&logs)
            .unwrap()
            .map(|file| file.unwrap())
            .collect();
        let number = |name: &str| {
            name.rsplit_once('.')
                .and_then(|(_, n)| n.parse::<u32>().ok())
        };
        files.sort_by_key(|file| number(&file.file_name().to_string_lossy()).unwrap_or(0));
        let texts = files
            .iter()
            .rev()
            .map(|file| fs::read_to_string(file.path()).unwrap());
        texts.collect()
    };
    // Oldest first.
    let before = read();
    for file in fs::read_dir(&logs).unwrap().map(|file| file.unwrap()) {
        if file.file_name() != "Riley.log" {
            fs::remove_file(file.path()).unwrap();
        }
    }
    let rest = eventually(
        "the disk is full again, or the last line is written",
        || {
            let rest = read();
            (rest.len() > 200 * 1024 || rest.contains(&format!("out ? full {:05}\n", LINES - 1)))
                .then_some(rest)
        },
    );
    let mut numbers: Vec<usize> = Vec::new();
    for text in [&before, &rest] {
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        numbers.extend(
            lines
                .filter_map(|line| line.trim_end().split_once(" out ? full "))
                .map(|(_, number)| number.parse::<usize>().expect("a whole line")),
        );
    }
    numbers.dedup();
    println!("{} of {LINES} are present", numbers.len());
    assert!(numbers.iter().copied().eq(0..numbers.len()), "{numbers:?}");
    assert!(numbers.len() > 2000, "{}", numbers.len());
}
