//! Streams that are closed, full or broken, and a low limit on open files.

use std::fs::Permissions;
use std::io::{self, PipeReader, PipeWriter};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tokio::net::unix::pipe::Sender;
use tokio::runtime::Builder;

use super::T;
use crate::common::{CLASSIC, Client, PAIR, Process, Site, Topology};

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
    for limit in [12, 16, 64, 120] {
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        let ended = Process::run(&mut through_shell(&site, &script, &["up"]));
        assert_eq!(ended.status.code(), Some(1), "{limit}: {ended:?}");
        let expected = format!(
            "error: too few open files: 5 servers with their links and a few clients need 144, and \
             the system permits this process {limit}; raise the limit (ulimit -n 144, "
        );
        assert!(ended.stderr.starts_with(&expected), "{limit}: {ended:?}");
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

#[test]
fn a_limit_on_file_sizes_stops_the_log_and_not_the_server() {
    let make = || Site::new(ALONE, "");
    let (site, process) = Site::start(make, |site| {
        let script = "ulimit -f 64 && exec \"$@\"";
        Process::spawn(&mut through_shell(site, script, &["up"])).serving()
    });
    let mut client = site.client("Riley");
    let line = "x".repeat(1000);
    for _ in 0..200 {
        assert_eq!(client.ask(&line), format!("? {line}"));
    }
    process.await_stderr("cannot write the log logs/Riley.log: File too large");
    assert_serves(&site);
}

#[test]
fn a_number_of_threads_that_is_none_is_reported() {
    let site = Site::new(ALONE, "");
    for value in ["0", "", "many", "-1", "1.5", "99999999999999999999"] {
        let mut command = site.command(&["up"]);
        let ended = Process::run(command.env("TOKIO_WORKER_THREADS", value));
        assert_eq!(ended.status.code(), Some(1), "{value:?}: {ended:?}");
        let expected = format!(
            "error: TOKIO_WORKER_THREADS in the environment is \"{value}\": a whole number from 1 "
        );
        assert!(ended.stderr.starts_with(&expected), "{ended:?}");
    }
}

/// Runs the program as a user that no other process has.
#[test]
fn too_few_threads_are_reported_by_every_command() {
    let site = Site::new(ALONE, "");
    std::fs::set_permissions(site.path(""), Permissions::from_mode(0o777)).unwrap();
    let user = "--reuid=54321";
    let limited = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([
            user,
            "--clear-groups",
            "sh",
            "-c",
            "ulimit -u 1 && exec \"$@\"",
            "sh",
        ]);
        command.args(arguments).current_dir(site.path(""));
        command
    };
    let program = env!("CARGO_BIN_EXE_proxyherd");
    let version = limited(&[program, "--version"]).output();
    if !version.is_ok_and(|tried| tried.status.success()) {
        return println!("skipped: this user may not run the program as another");
    }
    for command in [
        &["up"][..],
        &["serve", "Riley"],
        &["status"],
        &["bench", "--seconds", "1"],
    ] {
        let arguments = [&[program], command, &["--config", "herd.toml"]].concat();
        let ended = Process::run(&mut limited(&arguments));
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {ended:?}");
        assert!(
            ended.stderr.contains("cannot start threads: "),
            "{command:?}: {ended:?}"
        );
        assert!(!ended.stderr.contains("panicked"), "{command:?}: {ended:?}");
    }
}

#[test]
fn a_name_is_listened_on_at_all_of_its_addresses_which_are_printed() {
    let make = || {
        let site = Site::new(ALONE, "");
        site.set_config(&site.config().replace("127.0.0.1:", "localhost:"));
        site
    };
    let (site, process) = Site::start(make, |site| site.run(&["up"]));
    let port = site.server("Riley").clients;
    let output = process.stdout();
    let shown = output
        .split_once(&format!("clients on localhost:{port} ("))
        .unwrap()
        .1;
    let bound: Vec<&str> = shown.split_once(')').unwrap().0.split(" and ").collect();
    let resolved: Vec<SocketAddr> = ("localhost", port).to_socket_addrs().unwrap().collect();
    for address in &resolved {
        let is_here = std::net::TcpListener::bind((address.ip(), 0)).is_ok();
        assert_eq!(
            bound.contains(&&*address.to_string()),
            is_here,
            "{bound:?} {resolved:?}"
        );
    }
    for address in bound {
        let mut client = Client::connect(address.parse().unwrap());
        assert_eq!(client.ask("hello"), "? hello");
    }
}
