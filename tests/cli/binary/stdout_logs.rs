//! Logs on standard output, and logs as JSON.

use std::io::{self, PipeReader, Read};
use std::process::Stdio;

use serde_json::Value;

use super::T;
use crate::common::{PAIR, PortTaken, Process, Site, Topology, eventually};

const ALONE: Topology<'static> = (&["Riley"], &[]);

/// Starts a herd in one process that logs to standard output.
fn up(topology: Topology<'_>, settings: &str) -> (Site, Process) {
    let make = || Site::new(topology, &format!("[log]\ndir = \"-\"\n{settings}"));
    Site::start(make, |site| {
        Process::spawn(&mut site.command(&["up"])).logging_to_stdout()
    })
}

/// Waits until standard output contains a text, and returns the first line with it.
#[track_caller]
fn await_line(process: &Process, text: &str) -> String {
    eventually(&format!("standard output has {text:?}"), || {
        let output = process.stdout();
        let whole = output.rfind('\n').map_or("", |end| &output[..end]);
        let mut lines = whole.lines();
        lines.find(|line| line.contains(text)).map(str::to_owned)
    })
}

/// Returns a line without its time.
fn without_time(line: &str) -> &str {
    let (time, rest) = line.split_once(' ').expect(line);
    assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
    rest
}

#[test]
fn lines_on_standard_output_name_their_server_and_nothing_else_is_printed() {
    let (site, process) = up(PAIR, "");
    let mut client = site.client("Riley");
    let me = client.local_address().to_string();
    let at_line = client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    await_line(&process, &format!(" Riley client {me} out {at_line}"));
    await_line(&process, &format!(" Riley neighbour Jaquez out {at_line}"));
    await_line(&process, &format!(" Jaquez neighbour Riley in  {at_line}"));
    await_line(&process, " Riley INFO  link to Jaquez is up");
    process.signal("TERM");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
    let heads = ["Riley ", "Jaquez ", "- "];
    for line in ended.stdout.lines() {
        let line = without_time(line);
        assert!(heads.iter().any(|head| line.starts_with(head)), "{line}");
    }
    // It concerns both servers.
    let stopping = ended.stdout.lines().map(without_time);
    let stopping = stopping.filter(|line| *line == "- INFO  stopping on SIGTERM");
    assert_eq!(stopping.count(), 1, "{}", ended.stdout);
    assert!(!site.path("logs").exists() && !site.path("-").exists());
}

#[test]
fn each_line_of_a_json_log_is_an_object() {
    let (site, process) = up(PAIR, "format = \"json\"\n");
    let mut client = site.client("Riley");
    let me = client.local_address().to_string();
    let at_line = client.ask(&format!("IAMAT kiwi +34.06-118.44 {T}"));
    client.send("WHATSAT kiwi 10 5\n");
    client.places();
    client.send(b"a \"quoted\" \\ \x1b[2J \xff line\n".as_slice());
    client.line();
    drop(client);
    await_line(&process, "disconnected: it closed its side");
    await_line(&process, "\"server\":\"Jaquez\",\"neighbour\":\"Riley\"");
    process.signal("TERM");
    let ended = process.end();
    assert_eq!(ended.stderr, "");
    let parse = |line: &str| serde_json::from_str::<Value>(line).expect(line);
    let lines: Vec<Value> = ended.stdout.lines().map(parse).collect();
    for line in &lines {
        let time = line["timestamp"].as_str().expect("a time");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
        let is_event = line["level"].is_string()
            && line["message"].is_string()
            && line["target"]
                .as_str()
                .is_some_and(|it| it.starts_with("proxyherd"));
        let is_transcript = line["line"].is_string() && line["direction"].is_string();
        assert!(is_event != is_transcript, "{line}");
    }
    let mine = lines.iter().filter(|line| line["client"] == *me);
    let mine: Vec<_> = mine
        .map(|line| {
            assert_eq!(line["server"], "Riley");
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            (text("direction"), text("line"), line["places"].as_u64())
        })
        .collect();
    let escaped = "a \"quoted\" \\\\ \\x1b[2J \\xff line";
    let expected = [
        ("in", format!("IAMAT kiwi +34.06-118.44 {T}"), None),
        ("out", at_line.clone(), None),
        ("in", "WHATSAT kiwi 10 5".to_owned(), None),
        ("out", at_line, Some(2)),
        ("in", escaped.to_owned(), None),
        ("out", format!("? {escaped}"), None),
    ];
    let expected = expected.map(|(direction, line, places)| (direction.to_owned(), line, places));
    assert_eq!(mine, expected);
    let server_of = |message: &str| {
        let mut lines = lines.iter();
        let line = lines.find(|line| line["message"].as_str().is_some_and(|it| it == message));
        line.expect(message)["server"].clone()
    };
    assert_eq!(server_of("link to Jaquez is up"), "Riley");
    assert_eq!(server_of("stopping on SIGTERM"), Value::Null);
}

#[test]
fn a_json_log_may_be_a_file() {
    let (site, process) = Site::up(ALONE, "[log]\nformat = \"json\"\n");
    site.client("Riley").ask("hello");
    let line = site.await_log("Riley", "\"line\":\"? hello\"");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["server"], &line["direction"]),
        (&"Riley".into(), &"out".into())
    );
    assert!(process.stdout().contains("\nlogs in logs\n"));
}

#[test]
fn at_level_off_nothing_goes_to_standard_output_and_messages_to_standard_error() {
    let make = || Site::new(PAIR, "[log]\ndir = \"-\"\nlevel = \"off\"\n");
    let (site, process) = Site::start(make, |site| site.run(&["up"]));
    process.await_stderr("Riley: link to Jaquez is up");
    site.client("Riley").ask("hello");
    process.signal("TERM");
    let ended = process.end();
    assert!(ended.stdout.ends_with("Ctrl-C stops it\n"), "{ended:?}");
    assert!(ended.stderr.contains("stopping on SIGTERM"), "{ended:?}");
}

/// Starts Riley with a standard output that is read by the caller, up to now until it started.
fn with_own_reader(site: &Site) -> Result<(Process, PipeReader, Vec<u8>), PortTaken> {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = site.command(&["serve", "Riley"]);
    command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped());
    let process = Process::spawn_with_streams(&mut command);
    drop(command); // its end of the pipe
    let mut output = Vec::new();
    while !String::from_utf8_lossy(&output).contains("started: ") {
        let mut piece = [0; 1024];
        match reader.read(&mut piece).unwrap() {
            0 => return Err(PortTaken),
            length => output.extend_from_slice(&piece[..length]),
        }
    }
    Ok((process, reader, output))
}

#[test]
fn a_reader_that_does_not_read_delays_no_client_and_misses_nothing() {
    /// Several times what a pipe holds.
    const LINES: usize = 5_000;
    const BURST: usize = 100;
    let make = || Site::new(ALONE, "[log]\ndir = \"-\"\n");
    let (site, (process, mut reader, mut output)) = Site::start(make, with_own_reader);
    let mut client = site.client("Riley");
    let line = |n: usize| format!("{n:05} {}", "x".repeat(100));
    for first in (0..LINES).step_by(BURST) {
        let burst = first..first + BURST;
        client.send(burst.clone().map(|n| line(n) + "\n").collect::<String>());
        for n in burst {
            assert_eq!(client.text(), format!("? {}", line(n)));
        }
    }
    process.signal("TERM");
    reader.read_to_end(&mut output).unwrap();
    assert_eq!(process.end().status.code(), Some(0));
    let output = String::from_utf8(output).unwrap();
    for direction in [" in  ", " out ? "] {
        let numbers = output.lines().filter_map(|line| line.split_once(direction));
        let numbers = numbers.filter_map(|(_, text)| text.get(..5)?.parse::<usize>().ok());
        assert!(numbers.eq(0..LINES), "{direction}");
    }
}

#[test]
fn a_reader_that_never_reads_does_not_keep_the_process() {
    let make = || Site::new(ALONE, "[log]\ndir = \"-\"\n");
    let (site, (process, reader, _)) = Site::start(make, with_own_reader);
    let mut client = site.client("Riley");
    // Several times what a pipe holds.
    for n in 0..100 {
        client.ask(&format!("{n} {}", "x".repeat(4000)));
    }
    process.signal("TERM");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    drop(reader);
}

#[test]
fn a_reader_that_leaves_is_reported_and_the_server_continues() {
    let make = || Site::new(ALONE, "[log]\ndir = \"-\"\n");
    let (site, (process, reader, _)) = Site::start(make, with_own_reader);
    drop(reader);
    site.client("Riley").ask("hello");
    process.await_stderr(
        "warning: Riley: cannot write the log to standard output: Broken pipe (os error 32); the \
         server continues and retries\n",
    );
    site.client("Riley").ask("hello again");
}
