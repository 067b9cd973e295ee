//! `proxyherd watch`.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::process::Stdio;

use proxyherd::proto::watch_request::{Filter, Start};
use proxyherd::proto::{KnownReport, Resume, WatchResponse};
use tonic::Status;

use super::fake_server::{Behaviour, FakeServer, held_report, herd, run};
use crate::common::{Process, Site, eventually};

fn response(server: &FakeServer, sequence: u64, reports: Vec<KnownReport>) -> WatchResponse {
    WatchResponse {
        reports,
        incarnation: server.state(|state| state.status.incarnation),
        sequence,
        replaced: 0,
        up_to_date: true,
    }
}

fn watch(site: &Site, arguments: &[&str]) -> Process {
    Process::spawn(&mut site.command(&[&["watch"], arguments].concat()))
}

#[track_caller]
fn await_stdout(process: &Process, expected: &str) {
    eventually(&format!("{expected:?} is printed"), || {
        process.stdout().contains(expected).then_some(())
    });
}

#[test]
fn accepted_reports_are_printed_until_ctrl_c() {
    let (site, fakes) = herd(&["Riley"]);
    let process = watch(&site, &[]);
    let request = fakes[0].await_watches(1);
    assert_eq!(
        (request.filter, request.start),
        (None, Some(Start::Present(false)))
    );
    let mut response = response(&fakes[0], 7, vec![held_report("kiwi", "+1+1", "9", "")]);
    response
        .reports
        .push(held_report("\x1b[2J", "+1+1", "9", "Jaquez"));
    response.replaced = 12;
    fakes[0].send_to_watchers(response);
    let lines = "2023-11-14T21:56:40.000Z - AT Riley +0.263873386 kiwi +1+1 9\n\
                 2023-11-14T21:56:40.000Z Jaquez AT Riley +0.263873386 \\x1b[2J +1+1 9\n";
    await_stdout(&process, lines);
    process.signal("INT");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout, lines);
    let message = "Riley: 12 changes replaced by newer ones before they could be sent\n";
    assert_eq!(ended.stderr, message);
}

#[test]
fn an_interrupted_watch_resumes_after_its_last_response() {
    let (site, mut fakes) = herd(&["Riley"]);
    let process = watch(&site, &["--prefix", "k", "--present", "--json"]);
    let request = fakes[0].await_watches(1);
    assert_eq!(request.filter, Some(Filter::Prefix("k".to_owned())));
    assert_eq!(request.start, Some(Start::Present(true)));
    fakes[0].send_to_watchers(response(
        &fakes[0],
        7,
        vec![held_report("kiwi", "+1+1", "9", "")],
    ));
    await_stdout(&process, "kiwi");
    fakes[0].stop();
    process.await_stderr("; retrying");
    fakes[0].restart();
    let incarnation = fakes[0].state(|state| state.status.incarnation);
    let resume = Resume {
        incarnation,
        sequence: 7,
    };
    let request = fakes[0].await_watches(2);
    assert_eq!(request.filter, Some(Filter::Prefix("k".to_owned())));
    assert_eq!(request.start, Some(Start::Resume(resume)));

    // In another incarnation the watch begins anew with all reports.
    fakes[0].stop();
    fakes[0].state(|state| state.status.incarnation = 99);
    fakes[0].restart();
    process.await_stderr("Riley: restarted; the watch begins anew with the reports it holds\n");
    let request = fakes[0].await_watches(4);
    assert_eq!(request.start, Some(Start::Present(true)));
    fakes[0].send_to_watchers(response(
        &fakes[0],
        1,
        vec![held_report("koala", "+1+1", "9", "")],
    ));
    await_stdout(&process, "koala");
    for line in process.stdout().lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["server"], "Riley");
        assert_eq!(object["learned_at"], "2023-11-14T21:56:40.000Z");
    }
    process.signal("INT");
    assert_eq!(process.end().status.code(), Some(0));
}

#[test]
fn a_rejected_watch_ends() {
    let (site, mut fakes) = herd(&["Riley"]);
    let rejection = Status::invalid_argument("a circle has a radius");
    fakes[0].state(|state| state.behaviour = Behaviour::Reject(rejection));
    let ended = run(&site, &["watch", "--circle", "-1,2,3km"], 1);
    let message = "error: Riley: rejected the call: a circle has a radius\n";
    assert_eq!(ended.stderr, message);
    fakes[0].stop();
    let ended = run(&site, &["watch"], 1);
    assert!(
        ended
            .stderr
            .starts_with("error: no server answered\nRiley (127."),
        "{ended:?}"
    );
}

/// Starts a command, and returns its standard output too.
fn piped(site: &Site, arguments: &[&str]) -> (Process, BufReader<PipeReader>) {
    let (reader, writer) = io::pipe().unwrap();
    let mut command = site.command(arguments);
    command.stdin(Stdio::null()).stdout(writer);
    let process = Process::spawn_with_streams(command.stderr(Stdio::piped()));
    (process, BufReader::new(reader))
}

/// Reads a line, and leaves.
fn assert_ends_without_reader((process, mut reader): (Process, BufReader<PipeReader>)) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{line:?}: {ended:?}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_follower_ends_when_its_reader_leaves_though_it_writes_nothing() {
    let (site, fakes) = herd(&["Riley"]);
    assert_ends_without_reader(piped(&site, &["status", "--watch", "86400"]));
    let watch = piped(&site, &["watch"]);
    fakes[0].await_watches(1);
    let report = held_report("kiwi", "+1+1", "1", "");
    fakes[0].send_to_watchers(response(&fakes[0], 1, vec![report]));
    assert_ends_without_reader(watch);
}

#[test]
fn sigterm_ends_followers_as_ctrl_c_does() {
    let (site, fakes) = herd(&["Riley"]);
    let status = Process::spawn(&mut site.command(&["status", "--watch", "86400"]));
    await_stdout(&status, "herd test: 1 of 1 server up");
    let watch = watch(&site, &[]);
    fakes[0].await_watches(1);
    for process in [status, watch] {
        process.signal("TERM");
        let ended = process.end();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    }
}

#[test]
fn a_client_id_may_begin_with_a_hyphen() {
    let (site, fakes) = herd(&["Riley"]);
    for filter in [["--client", "-7"], ["--prefix", "-7"]] {
        let watch = watch(&site, &filter);
        eventually("the watch has begun", || {
            fakes[0].state(|state| state.watches.pop())
        });
        watch.signal("INT");
        assert_eq!(watch.end().status.code(), Some(0));
    }
    let ended = Process::run(&mut site.command_alone(&["locate", "-7"]));
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("use '-- -7'"), "{ended:?}");
}
