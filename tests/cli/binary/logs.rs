//! The logs: the transcript of clients and neighbours, and events of connections and links.

use std::fs;

use proxyherd::proto::GreetRequest;
use proxyherd::proto::propagate_client::PropagateClient;
use tokio::runtime::Builder;
use tonic::transport::Endpoint;

use super::T;
use crate::common::{Client, PAIR, Process, Site, Topology, eventually};

const ALONE: Topology<'static> = (&["Riley"], &[]);

/// Returns a log line without its time.
fn without_time(line: &str) -> &str {
    let (time, rest) = line.split_once(' ').unwrap_or(("", ""));
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    assert_eq!(shape, "9999-99-99T99:99:99.999999Z", "{line:?}");
    rest
}

/// Returns the log lines of one client, oldest first.
fn of_client(site: &Site, client: &str) -> Vec<String> {
    let log = site.log("Riley");
    let lines = log.lines().map(without_time);
    let prefix = format!("client {client} ");
    let lines = lines.filter(|line| line.contains(&prefix));
    lines.map(|line| line.replace(&prefix, "")).collect()
}

#[test]
fn every_line_of_a_client_is_in_the_log_both_ways() {
    let (site, _process) = Site::up(ALONE, "");
    let mut client = site.client("Riley");
    let me = client.local_address().to_string();
    let at_line = client.ask(&format!("  IAMAT kiwi +34.06-118.44 {T}"));
    client.send("WHATSAT kiwi 10 5\nWHATSAT kiwi 1 5\nWHATSAT kiwi 10 0\n\nWHATSAT nobody 1 1\r\n");
    for _ in 0..3 {
        client.places();
    }
    assert_eq!(
        (client.text(), client.text()),
        ("? ".into(), "? WHATSAT nobody 1 1".into())
    );
    drop(client);
    site.await_log("Riley", &format!("client {me} disconnected"));
    assert_eq!(
        of_client(&site, &me),
        [
            "INFO  connected".to_owned(),
            format!("in    IAMAT kiwi +34.06-118.44 {T}"),
            format!("out {at_line}"),
            "in  WHATSAT kiwi 10 5".into(),
            format!("out {at_line} and 2 places"),
            "in  WHATSAT kiwi 1 5".into(),
            format!("out {at_line} and 1 place"),
            "in  WHATSAT kiwi 10 0".into(),
            format!("out {at_line} and 0 places"),
            "in  ".into(),
            "out ? ".into(),
            "in  WHATSAT nobody 1 1".into(),
            "out ? WHATSAT nobody 1 1".into(),
            "INFO  disconnected: it closed its side".into(),
        ]
    );
}

#[test]
fn a_line_is_in_the_log_without_further_lines() {
    let (site, _process) = Site::up(ALONE, "");
    let mut client = site.client("Riley");
    for n in 0..9 {
        let at_line = client.ask(&format!("IAMAT kiwi-{n} +1+1 {T}"));
        site.await_log("Riley", &format!(" out {at_line}"));
    }
}

#[test]
fn every_report_between_neighbours_is_in_both_logs_as_its_at_line() {
    let (site, process) = Site::up(PAIR, "");
    process.await_stderr("Riley: link to Jaquez is up");
    process.await_stderr("Jaquez: link to Riley is up");
    let kiwi = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    let plum = site.client("Jaquez").ask(&format!("IAMAT plum +1+1 {T}"));
    for (at_line, from, to) in [(&kiwi, "Riley", "Jaquez"), (&plum, "Jaquez", "Riley")] {
        let out = site.await_log(from, &format!(" neighbour {to} out {at_line}"));
        assert_eq!(without_time(&out), format!("neighbour {to} out {at_line}"));
        let received = site.await_log(to, &format!(" neighbour {from} in  {at_line}"));
        assert_eq!(
            without_time(&received),
            format!("neighbour {from} in  {at_line}")
        );
    }
    site.await_report(&["Riley"], "plum", &plum);
    for server in PAIR.0 {
        let log = site.log(server);
        for at_line in [&kiwi, &plum] {
            let between = log.lines().filter(|line| {
                without_time(line).starts_with("neighbour ") && line.ends_with(at_line.as_str())
            });
            assert_eq!(between.count(), 1, "sent once, and not back: {log}");
        }
    }
}

#[test]
fn connections_are_logged_with_the_reason_of_their_end() {
    let quick = "[limits]\nidle = \"200ms\"\n";
    let (site, mut servers) = Site::serve_each(PAIR, quick);
    let from = site.await_log("Riley", "neighbour Jaquez connected from 127.0.0.1:");
    assert!(without_time(&from).starts_with("INFO  "), "{from}");
    site.await_log("Riley", "INFO  link to Jaquez is up");

    let mut silent = site.client("Riley");
    assert_eq!(silent.rest(), b"", "the idle limit ends it");
    let me = silent.local_address().to_string();
    site.await_log(
        "Riley",
        &format!("client {me} disconnected: it sent nothing for the idle limit"),
    );

    let broken = site.client("Riley");
    let me = broken.local_address().to_string();
    broken.reset();
    site.await_log(
        "Riley",
        &format!("client {me} disconnected: the connection broke: "),
    );

    let mut last = site.client("Riley");
    let me = last.local_address().to_string();
    last.ask("hello");
    servers.pop().expect("Jaquez").kill();
    let down = site.await_log("Riley", "link to Jaquez is down: ");
    assert!(without_time(&down).starts_with("WARN  "), "{down}");
    let gone = site.await_log("Riley", " is gone: it closed the connection");
    assert!(
        without_time(&gone).starts_with("INFO  neighbour Jaquez from 127.0.0.1:"),
        "{gone}"
    );
    let riley = servers.pop().expect("Riley");
    riley.signal("TERM");
    assert_eq!(riley.end().status.code(), Some(0));
    let log = site.log("Riley");
    let output = [
        format!("client {me} disconnected: the server shuts down"),
        format!("client {me} disconnected: it sent nothing for the idle limit"),
    ];
    assert!(output.iter().any(|output| log.contains(output)), "{log}");
}

#[test]
fn probes_that_send_nothing_are_logged_at_level_debug_only() {
    for (level, lines) in [("info", 0), ("debug", 20)] {
        let (site, _process) = Site::up(ALONE, &format!("[log]\nlevel = \"{level}\"\n"));
        for _ in 0..20 {
            drop(site.client("Riley"));
        }
        let mut client = site.client("Riley");
        client.ask("hello");
        eventually("the probes are logged", || {
            let log = site.log("Riley");
            let probes = log.matches("connected and sent nothing: ").count();
            (log.contains(" in  hello") && probes == lines).then_some(())
        });
        assert_eq!(site.log("Riley").matches(" connected\n").count(), 1);
    }
}

#[test]
fn a_client_cannot_forge_a_log_line() {
    let (site, process) = Site::up(PAIR, "");
    let mut client = site.client("Riley");
    let forged: [&[u8]; 5] = [
        b"IAMAT\r2026-11-22T09:31:05.123456Z INFO  forged by CR",
        b"\x1b[2J\x1b[31mred\x07\x08\x00\x7f\xc2\x9b1m",
        "line\u{2028}separator \u{202e}backwards\u{200b}\u{85}".as_bytes(),
        b"\xff\xfe not UTF-8 \xc3",
        b"a vertical\x0btab and a form\x0cfeed",
    ];
    for line in forged {
        client.send(line).send("\n");
        assert_eq!(
            client.line(),
            [b"? ", line, b"\n"].concat(),
            "answered as it came"
        );
    }
    // A client ID may contain any character except white space.
    let id = "kiwi\u{1b}[2J\u{202e}\u{2028}";
    let answer = client.ask(&format!("IAMAT {id} +1+1 {T}"));
    assert!(answer.contains(id), "{answer:?}");

    let as_shown = "kiwi\\x1b[2J\\u{202e}\\u{2028} +1+1";
    site.await_log("Riley", " out AT Riley +");
    site.await_log("Jaquez", as_shown);
    for server in PAIR.0 {
        let log = site.log(server);
        let shown = log.lines().filter(|line| line.contains(as_shown)).count();
        assert!(shown > 0, "{log}");
        // Every line has a time of the server.
        assert!(
            log.lines()
                .all(|line| !without_time(line).starts_with("INFO  forged"))
        );
        let is_raw = |c: char| (c.is_control() && c != '\n') || "\u{2028}\u{202e}".contains(c);
        assert!(!log.contains(is_raw), "{log:?}");
    }
    let log = site.log("Riley");
    assert_eq!(log.matches(" in  ").count(), 6, "{log}");
    assert!(log.contains("IAMAT\\r2026-11-22T"), "{log}");
    assert!(
        log.contains("\\x1b[2J\\x1b[31mred\\x07\\x08\\x00\\x7f\\u{9b}1m"),
        "{log}"
    );
    assert!(log.contains("\\xff\\xfe not UTF-8 \\xc3"), "{log}");
    assert!(!process.stderr().contains('\u{1b}'));
}

#[test]
fn a_stranger_cannot_forge_a_log_line() {
    let (site, process) = Site::up(ALONE, "");
    let forged = "x\n2026-11-22T09:31:05.123456Z INFO  forged \u{1b}[2J\u{202e}";
    let greeting = GreetRequest {
        version_major: 2,
        herd: forged.to_owned(),
        sender: forged.to_owned(),
        sender_incarnation: 1,
        receiver: "Riley".to_owned(),
        ..GreetRequest::default()
    };
    let address = format!("http://127.0.0.1:{}", site.server("Riley").peers);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Endpoint::from_shared(address).unwrap().connect().await;
        let mut stranger = PropagateClient::new(channel.unwrap());
        stranger.greet(greeting).await.unwrap_err();
    });
    process.await_stderr("rejected a greeting from 127.0.0.1:");
    site.await_log("Riley", "rejected a greeting from 127.0.0.1:");
    for output in [process.stderr(), site.log("Riley")] {
        assert!(
            !output.contains('\u{1b}') && !output.contains('\u{202e}'),
            "{output:?}"
        );
        assert!(
            output
                .lines()
                .all(|line| !line.starts_with("2026-11-22T09:31:05.123456Z"))
        );
    }
}

#[test]
fn at_level_off_no_file_is_written() {
    let (site, process) = Site::up(PAIR, "[log]\nlevel = \"off\"\n");
    process.await_stderr("Riley: link to Jaquez is up");
    let at_line = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(&["Jaquez"], "kiwi", &at_line);
    assert!(!process.stdout().contains("logs"), "{}", process.stdout());
    process.signal("TERM");
    assert_eq!(process.end().status.code(), Some(0));
    assert!(!site.path("logs").exists());
}

#[test]
fn at_level_warn_the_log_has_the_transcript_and_no_info_events() {
    let (site, _process) = Site::up(PAIR, "[log]\nlevel = \"warn\"\ndir = \"elsewhere/deep\"\n");
    let at_line = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    let read = || std::fs::read_to_string(site.path("elsewhere/deep/Riley.log")).ok();
    let log = eventually("the transcript is written", || {
        read().filter(|log| log.contains(&format!("out {at_line}")))
    });
    assert!(!log.contains(" INFO "), "{log}");
}

#[test]
fn rust_log_overrides_the_config() {
    let make = || Site::new(PAIR, "[log]\nlevel = \"error\"\n");
    let with = |rust_log: &'static str| {
        Site::start(make, move |site: &Site| {
            Process::spawn(site.command(&["up"]).env("RUST_LOG", rust_log)).serving()
        })
    };
    let (site, _process) = with("warn,proxyherd=info");
    site.await_log("Riley", "INFO  link to Jaquez is up");

    let (site, _process) = with("h2=debug");
    site.await_log("Riley", " DEBUG h2");

    let (site, process) = with("proxyherd=loud");
    process.await_stderr("warning: RUST_LOG is invalid (\"proxyherd=loud\"");
    site.client("Riley").ask("it serves all the same");
}

#[test]
fn a_log_that_was_moved_away_is_made_again() {
    let (site, _process) = Site::up(ALONE, "");
    let mut client: Client = site.client("Riley");
    client.ask("one");
    site.await_log("Riley", "in  one");
    std::fs::rename(site.path("logs"), site.path("moved")).unwrap();
    client.ask("two");
    site.await_log("Riley", "in  two");
    assert!(!site.log("Riley").contains("in  one"));
}

#[test]
fn a_log_that_another_process_writes_is_rejected() {
    let (site, process) = Site::up(ALONE, "");
    let other = Site::new(ALONE, "");
    fs::write(site.path("other.toml"), other.config()).unwrap();
    let serve = || site.command_alone(&["serve", "Riley", "--config", "other.toml"]);
    let ended = Process::run(&mut serve());
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let expected = "error: cannot open the log logs/Riley.log: another process, or another server \
                    of this one, writes it; stop the other one, or name another directory as `dir` \
                    in [log]";
    assert_eq!(ended.stderr.trim_end(), expected);
    // The lock ends with the process, however it ends.
    process.kill();
    let started = Process::spawn(&mut serve()).serving();
    assert!(started.is_ok(), "its ports are free");
}
