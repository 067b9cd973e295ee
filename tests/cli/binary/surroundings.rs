//! Streams that are closed, full or broken, and a low limit on open files.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use tokio::net::unix::pipe::Sender;
use tokio::runtime::Builder;

use super::T;
use crate::common::{CLASSIC, PAIR, Process, Site, Topology};

const ALONE: Topology<'static> = (&["Riley"], &[]);

const LOG: &str = "logs/Riley.log";

/// Returns the program run by a shell script, in which `$@` is the program.
pub(crate) fn through_shell(site: &Site, script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_proxyherd")]);
    command.args(arguments).args(["--config", "herd.toml"]);
    command.current_dir(site.path("")).env_remove("RUST_LOG");
    command
}

fn assert_serves(site: &Site) {
    let at_line = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    assert!(at_line.starts_with("AT Riley "), "{at_line}");
}

/// Returns a full pipe with its reader.
fn full_pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = io::pipe().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let full = runtime.block_on(async {
        let filler = Sender::from_owned_fd(writer.into()).unwrap();
        filler.writable().await.unwrap();
        while filler.try_write(b".").is_ok() {}
        filler.into_blocking_fd().unwrap()
    });
    (reader, full)
}

/// Returns a pipe without a reader.
fn broken_pipe() -> PipeWriter {
    io::pipe().unwrap().1
}

/// Starts a herd without standard input, whose other streams `streams` sets.
fn up(make: impl Fn() -> Site, streams: impl Fn(&mut Command)) -> (Site, Process) {
    Site::start(make, |site| {
        let mut command = site.command(&["up"]);
        streams(command.stdin(Stdio::null()));
        Process::spawn_with_streams(&mut command).logging(&site.path(LOG))
    })
}

#[test]
fn the_limit_on_open_files_is_raised() {
    let make = || Site::new(ALONE, "");
    let (site, process) = Site::start(make, |site| {
        let script = "ulimit -Sn 64 && exec \"$@\"";
        Process::spawn(&mut through_shell(site, script, &["up"])).serving()
    });
    let mut clients: Vec<_> = (0..200).map(|_| site.client("Riley")).collect();
    for client in &mut clients {
        assert_eq!(client.ask("hello"), "? hello");
    }
    assert!(
        !process.stderr().contains("cannot accept"),
        "{}",
        process.stderr()
    );
}

#[test]
fn a_limit_on_open_files_that_is_too_low_is_reported() {
    let site = Site::new(CLASSIC, "");
    for limit in [12, 16] {
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        let ended = Process::run(&mut through_shell(&site, &script, &["up"]));
        assert_eq!(ended.status.code(), Some(1), "{limit}: {ended:?}");
        assert!(
            ended.stderr.contains("Too many open files"),
            "{limit}: {ended:?}"
        );
        assert!(ended.stderr.contains("ulimit -n"), "{limit}: {ended:?}");
        assert!(
            !ended.stderr.contains("address in the config"),
            "{limit}: {ended:?}"
        );
    }
}

#[test]
fn closed_streams_do_not_matter() {
    let make = || Site::new(PAIR, "");
    let (site, process) = Site::start(make, |site| {
        let script = "exec \"$@\" <&- >&- 2>&-";
        let process = Process::spawn(&mut through_shell(site, script, &["up"]));
        process.logging(&site.path(LOG))
    });
    assert_serves(&site);
    site.await_log("Jaquez", "neighbour Riley in  AT Riley ");
    process.signal("TERM");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!((ended.stdout, ended.stderr), (String::new(), String::new()));
    assert!(site.log("Riley").ends_with(" INFO  stopped\n"));
}

#[test]
fn streams_that_broke_do_not_matter() {
    let make = || Site::new(PAIR, "");
    let (site, process) = up(make, |command| {
        command.stdout(broken_pipe()).stderr(broken_pipe());
    });
    assert_serves(&site);
    process.signal("TERM");
    assert_eq!(process.end().status.code(), Some(0));
}

#[test]
fn a_terminal_that_takes_nothing_delays_nothing() {
    let (reader, writer) = full_pipe();
    let make = || Site::new(CLASSIC, "");
    let (site, process) = up(make, |command| {
        command.stdout(Stdio::null());
        command.stderr(writer.try_clone().unwrap());
    });
    assert_serves(&site);
    process.signal("TERM");
    assert_eq!(process.end().status.code(), Some(0));
    drop(reader);
}

#[test]
fn a_full_standard_output_does_not_keep_a_server_from_stopping() {
    let (reader, writer) = full_pipe();
    let make = || Site::new(ALONE, "");
    let (site, process) = up(make, |command| {
        command.stderr(Stdio::null());
        command.stdout(writer.try_clone().unwrap());
    });
    assert_serves(&site);
    process.signal("TERM");
    assert_eq!(process.end().status.code(), Some(0));
    drop(reader);
}

#[test]
fn a_second_signal_stops_at_once_while_standard_error_is_full() {
    let (reader, writer) = full_pipe();
    let make = || Site::new(PAIR, "[flooding]\ndrain = \"1m\"\n");
    let (site, process) = up(make, |command| {
        command.stdout(Stdio::null());
        command.stderr(writer.try_clone().unwrap());
    });
    // A client that reads nothing keeps the server waiting.
    let mut client = site.client("Riley");
    client.fill("not a command, and answered with itself\n");
    process.signal("TERM");
    site.await_log("Riley", "stopping on SIGTERM");
    process.signal("TERM");
    assert_eq!(process.end().status.code(), Some(1));
    drop(reader);
}

#[test]
fn an_error_that_cannot_be_printed_still_sets_the_exit_code() {
    let site = Site::new(PAIR, "[nonsense]\n");
    let mut command = site.command(&["up"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(broken_pipe());
    let ended = Process::spawn_with_streams(&mut command).end();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

#[test]
fn a_reader_of_check_may_leave_early() {
    let site = Site::new(PAIR, "");
    let mut command = site.command(&["check"]);
    command
        .stdin(Stdio::null())
        .stdout(broken_pipe())
        .stderr(Stdio::piped());
    let ended = Process::spawn_with_streams(&mut command).end();
    assert_eq!(ended.stderr, "", "{ended:?}");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}
