//! Logs that can not be written: the disk is full, the directory is gone.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::T;
use crate::common::{Client, Process, Site, Topology, all_the_while, eventually, memory};

const ALONE: Topology<'static> = (&["Riley"], &[]);

/// What is told of a log that can not be written.
const TROUBLE: &str = "cannot write the log";

/// Several times the pause between two tries to write: time for each of them to
/// be told, were it not told once.
const A_WHILE: Duration = Duration::from_secs(1);

/// Riley, whose log is a disk that is always full.
fn on_a_full_disk() -> (Site, Process) {
    let make = || {
        let site = Site::new(ALONE, "");
        fs::create_dir(site.path("logs")).unwrap();
        symlink("/dev/full", site.path("logs/Riley.log")).unwrap();
        site
    };
    Site::start(make, |site| site.run(&["up"]))
}

/// Says numbered lines, and gives how long the slowest answer took.
fn say(client: &mut Client, what: &str, count: usize) -> Duration {
    let say = |n| {
        let line = format!("{what} {n:05}");
        let asked = Instant::now();
        assert_eq!(client.ask(&line), format!("? {line}"));
        asked.elapsed()
    };
    (0..count).map(say).max().unwrap_or_default()
}

/// Waits until the log holds both sides of the last of those lines, and checks
/// that it holds all others too, once.
#[track_caller]
fn await_all(site: &Site, what: &str, count: usize) {
    site.await_log("Riley", &format!(" out ? {what} {:05}", count - 1));
    let log = site.log("Riley");
    for direction in ["in  ", "out ? "] {
        let told = format!(" {direction}{what} ");
        let numbers: Vec<_> = log
            .lines()
            .filter_map(|line| line.split_once(&told))
            .map(|(_, number)| number.parse::<usize>().unwrap())
            .collect();
        assert!(
            numbers.iter().copied().eq(0..count),
            "{told:?}: {numbers:?}"
        );
    }
}

#[track_caller]
fn told_once(process: &Process) {
    assert_eq!(
        process.stderr().matches(TROUBLE).count(),
        1,
        "{}",
        process.stderr()
    );
}

#[test]
fn beside_a_full_disk_serving_goes_on_it_is_told_once_and_no_line_is_lost() {
    let (site, process) = on_a_full_disk();
    let mut client = site.client("Riley");
    let worst = say(&mut client, "first", 200);
    process.await_stderr(TROUBLE);
    let told = process.stderr();
    assert!(
        told.contains("logs/Riley.log: No space left on device"),
        "{told}"
    );
    all_the_while(A_WHILE, || told_once(&process));
    let worst = worst.max(say(&mut client, "second", 200));
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    told_once(&process);

    // The disk has room again.
    fs::remove_file(site.path("logs/Riley.log")).unwrap();
    say(&mut client, "third", 10);
    for (what, count) in [("first", 200), ("second", 200), ("third", 10)] {
        await_all(&site, what, count);
    }
    told_once(&process);
}

#[test]
fn what_does_not_fit_into_the_backlog_is_counted_and_memory_is_bounded() {
    /// Each line makes about 8 KB of log: ten times what the backlog may hold.
    const LINES: usize = 20_000;
    let (site, process) = on_a_full_disk();
    let mut client = site.client("Riley");
    say(&mut client, "first", 1);
    process.await_stderr(TROUBLE);
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
        // The backlog, and what the allocator has not given back for a second.
        assert!(grown < 80, "{grown} MiB more");
    }
    told_once(&process);

    fs::remove_file(site.path("logs/Riley.log")).unwrap();
    let missing = site.await_log("Riley", "lines are missing here: the disk did not keep up");
    let (_, words) = missing.split_once(" WARN  ").unwrap();
    let (missing, _) = words.split_once(' ').unwrap();
    let missing: usize = missing.parse().unwrap();
    say(&mut client, "last", 1);
    await_all(&site, "last", 1);
    let log = site.log("Riley");
    let there = log.matches(&text).count();
    println!("{there} lines are there, {missing} are missing");
    assert_eq!(there + missing, 2 * LINES, "each line and its answer");
    eventually("it is told that all is well", || {
        let told = process.stderr();
        told.contains(&format!(
            "Riley: the log is written again; {missing} lines are missing\n"
        ))
        .then_some(())
    });
    told_once(&process);
}

#[test]
fn a_log_directory_that_can_not_be_made_is_told_once_and_made_as_soon_as_it_can() {
    let (site, process) = Site::up(ALONE, "");
    let mut client = site.client("Riley");
    say(&mut client, "first", 1);
    await_all(&site, "first", 1);
    // What stands in the way is a file, which stops even root.
    fs::rename(site.path("logs"), site.path("moved")).unwrap();
    fs::write(site.path("logs"), "in the way").unwrap();
    let worst = say(&mut client, "second", 200);
    process.await_stderr(TROUBLE);
    all_the_while(A_WHILE, || told_once(&process));
    let worst = worst.max(say(&mut client, "third", 200));
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    told_once(&process);
    fs::remove_file(site.path("logs")).unwrap();
    await_all(&site, "third", 200);
    await_all(&site, "second", 200);
}

#[test]
fn a_server_stops_in_time_beside_a_full_disk_and_says_what_is_lost() {
    let (site, process) = on_a_full_disk();
    let answer = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    assert!(answer.starts_with("AT Riley "), "{answer}");
    process.await_stderr(TROUBLE);
    let asked = Instant::now();
    process.signal("TERM");
    let ended = process.end();
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("last lines of the log are lost: No space left"),
        "{ended:?}"
    );
}

/// A disk of a few pages, in a mount namespace of the program's own.
#[test]
fn on_a_disk_that_fills_up_no_line_is_broken_and_there_is_room_again_when_files_go() {
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
    say(&mut client, "full", LINES);
    process.await_stderr(TROUBLE);
    all_the_while(A_WHILE, || told_once(&process));
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
    // Oldest first: what is there begins with the first line.
    let before = read();
    for file in fs::read_dir(&logs).unwrap().map(|file| file.unwrap()) {
        if file.file_name() != "Riley.log" {
            fs::remove_file(file.path()).unwrap();
        }
    }
    let rest = eventually("the disk fills up again, or all is there", || {
        let rest = read();
        (rest.len() > 200 * 1024 || rest.contains(&format!("out ? full {:05}\n", LINES - 1)))
            .then_some(rest)
    });
    let mut numbers: Vec<usize> = Vec::new();
    for text in [&before, &rest] {
        let told = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        numbers.extend(
            told.filter_map(|line| line.trim_end().split_once(" out ? full "))
                .map(|(_, number)| number.parse::<usize>().expect("a whole line")),
        );
    }
    numbers.dedup();
    println!("{} of {LINES} are there", numbers.len());
    assert!(numbers.iter().copied().eq(0..numbers.len()), "{numbers:?}");
    assert!(numbers.len() > 2000, "{}", numbers.len());
}
