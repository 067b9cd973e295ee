//! Signals: what a server finishes before it stops.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::T;
use crate::common::{CLASSIC, Client, Ended, LIMIT, PAIR, Process, Site, Topology, eventually};

const ALONE: Topology<'static> = (&["Riley"], &[]);

/// A pair of servers in a process each, linked.
fn pair(settings: &str) -> (Site, Process, Process) {
    let (site, mut both) = Site::serve_each(PAIR, settings);
    let (jaquez, riley) = (both.pop().unwrap(), both.pop().unwrap());
    riley.await_stderr("link to Jaquez is up");
    jaquez.await_stderr("link to Riley is up");
    (site, riley, jaquez)
}

fn assert_clean_stop(ended: &Ended) {
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.ends_with(": stopped\n"), "{ended:?}");
}

/// Reports until the server closes, and returns the clients whose reports were answered.
fn report_until_closed(mut client: Client, name: &str) -> Vec<String> {
    let mut answered = Vec::new();
    for n in 0.. {
        let id = format!("{name}-{n}");
        if client.try_send(format!("IAMAT {id} +1+1 {T}\n")).is_err() {
            break;
        }
        match client.try_line() {
            Ok(line) if line.ends_with(b"\n") => answered.push(id),
            _ => break,
        }
    }
    answered
}

/// Number of clients that report under load. Each waits for an answer before its next report.
const REPORTERS: usize = 8;

/// Clients that report until the server closes, beside clients that keep it from closing.
struct Load {
    reporters: Vec<JoinHandle<Vec<String>>>,
    /// Clients that read nothing, and never end a line.
    _others: Vec<Client>,
}

impl Load {
    /// Starts the load at Riley, and waits until each reporter has some answers.
    fn start(site: &Site) -> Self {
        let mut unread = site.client("Riley");
        unread.fill("not a command, and answered with itself\n");
        let mut half = site.client("Riley");
        half.send("IAMAT half-a-line +1+1 1");
        let mut endless = site.client("Riley").sender();
        thread::spawn(move || while endless.write_all(&[b'x'; 4096]).is_ok() {});
        let reporters = (0..REPORTERS).map(|n| {
            let client = site.client("Riley");
            thread::spawn(move || report_until_closed(client, &format!("client-{n}")))
        });
        let reporters = reporters.collect();
        for n in 0..REPORTERS {
            site.await_log("Riley", &format!("client-{n}-20 "));
        }
        Self {
            reporters,
            _others: vec![unread, half],
        }
    }

    /// Returns the clients whose reports were answered, once the server has closed.
    fn answered(self) -> Vec<String> {
        let reporters = self.reporters.into_iter();
        let answered = reporters.flat_map(|client| client.join().unwrap());
        answered.collect()
    }
}

/// Returns the number of reports that a server named as lost at its end.
fn lost(ended: &Ended) -> usize {
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let (_, end) = ended.stderr.rsplit_once(": stopped").expect("it stopped");
    if end == "\n" {
        return 0;
    }
    let number = end.strip_prefix("; ").and_then(|end| end.split_once(' '));
    let (number, rest) = number.expect("a number of reports");
    assert!(
        rest.contains(" may be lost: no neighbour that is up acknowledged "),
        "{end}"
    );
    number.replace(',', "").parse().unwrap()
}

/// Returns those of the clients of which a server has no report.
fn unknown<'a>(site: &Site, server: &str, clients: &'a [String]) -> Vec<&'a String> {
    let mut connection = site.client(server);
    let is_unknown = |client: &&String| {
        let question = format!("WHATSAT {client} 0 0");
        let answer = connection.send(format!("{question}\n")).text();
        if answer == format!("? {question}") {
            return true;
        }
        assert!(answer.starts_with("AT Riley "), "{answer}");
        while connection.text() != "}" {}
        connection.text();
        false
    };
    clients.iter().filter(is_unknown).collect()
}

/// Asserts by its log that Riley ended all sessions before it stopped, those of clients that do
/// not read last.
fn assert_sessions_end_first(site: &Site, sessions: usize) {
    let log = site.log("Riley");
    let unread = log.find("not all of its answers were sent in time\n");
    let stopped = log.find("  stopped");
    assert!(
        unread.is_some() && unread < stopped,
        "{unread:?} {stopped:?}"
    );
    assert_eq!(log.matches(" disconnected: ").count(), sessions);
}

#[test]
fn every_report_answered_under_load_reaches_a_neighbour_that_is_up() {
    let (site, riley, _jaquez) = pair("");
    let load = Load::start(&site);
    riley.signal("TERM");
    assert_clean_stop(&riley.end());
    let answered = load.answered();
    assert_eq!(unknown(&site, "Jaquez", &answered), [""; 0]);
    assert!(site.log("Riley").ends_with(" INFO  stopped\n"));
    assert_sessions_end_first(&site, REPORTERS + 3);
}

#[test]
fn every_report_answered_under_load_is_counted_as_lost_if_no_neighbour_is_up() {
    let make = || Site::new(PAIR, "");
    let (site, riley) = Site::start(make, |site| site.run(&["serve", "Riley"]));
    let load = Load::start(&site);
    riley.signal("TERM");
    let lost = lost(&riley.end());
    let answered = load.answered().len();
    // Of each reporter, the last report may be taken and not answered.
    assert!(
        (answered..=answered + REPORTERS).contains(&lost),
        "{answered} answered, {lost} lost"
    );
    assert_sessions_end_first(&site, REPORTERS + 3);
}

#[test]
fn every_report_answered_under_load_is_at_a_neighbour_that_hangs_or_counted_as_lost() {
    let (site, riley, jaquez) = pair("");
    let load = Load::start(&site);
    jaquez.freeze();
    site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    riley.signal("TERM");
    let lost = lost(&riley.end());
    let mut answered = load.answered();
    answered.push("kiwi".to_owned());
    jaquez.signal("CONT");
    // It may apply a push that it received while it hung, which it did not acknowledge.
    let unknown = unknown(&site, "Jaquez", &answered).len();
    assert!(
        lost > 0 && unknown <= lost && lost <= answered.len() + REPORTERS,
        "{} answered, {unknown} unknown, {lost} lost",
        answered.len()
    );
    assert_sessions_end_first(&site, REPORTERS + 4);
}

#[test]
fn a_herd_whose_servers_restart_one_by_one_loses_no_report() {
    let (site, mut servers) = Site::serve_each(CLASSIC, "");
    for (n, name) in CLASSIC.0.iter().enumerate() {
        let mut client = site.client(name);
        for n in 0..100 {
            client.send(format!("IAMAT {name}-{n} +1+1 {T}\n"));
        }
        for _ in 0..100 {
            client.text();
        }
        servers[n].signal("TERM");
        assert_clean_stop(&servers.remove(n).end());
        let restarted = eventually("it has its ports again", || site.run(&["serve", name]).ok());
        servers.insert(n, restarted);
    }
    for server in CLASSIC.0 {
        for name in CLASSIC.0 {
            for n in 0..100 {
                let id = format!("{name}-{n}");
                eventually(&format!("{server} knows {id}"), || site.report(server, &id));
            }
        }
    }
}

#[test]
fn a_whole_herd_stops_on_ctrl_c() {
    // Nothing is pending, so the drain time does not pass: the test waits for less.
    let (site, process) = Site::up(CLASSIC, "[flooding]\ndrain = \"1m\"\n");
    let mut client = site.client("Riley");
    let at_line = client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(CLASSIC.0, "kiwi", &at_line);
    process.signal("INT");
    let ended = process.end();
    assert_clean_stop(&ended);
    assert!(ended.stderr.contains("stopping on Ctrl-C\n"), "{ended:?}");
    assert!(!ended.stderr.contains("warning"), "{ended:?}");
    assert_eq!(client.rest(), b"", "it is closed");
    for server in site.servers() {
        let stopped = format!("\n{}: stopped\n", server.name);
        assert!(ended.stderr.contains(&stopped), "{ended:?}");
        assert!(site.log(&server.name).ends_with(" INFO  stopped\n"));
    }
}

#[test]
fn a_whole_herd_that_stops_under_load_does_not_warn_of_its_own_links() {
    let (site, process) = Site::up(CLASSIC, "");
    let clients: Vec<_> = CLASSIC
        .0
        .iter()
        .map(|&server| {
            let client = site.client(server);
            thread::spawn(move || report_until_closed(client, server))
        })
        .collect();
    site.await_log("Bernard", "Riley-20 ");
    process.signal("INT");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    for client in clients {
        client.join().unwrap();
    }
    // Only reports that no neighbour got are worth a warning.
    let warnings = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("warning"));
    let others: Vec<&str> = warnings
        .filter(|line| !line.contains(": stopped; "))
        .collect();
    assert_eq!(others, [""; 0], "{ended:?}");
}

#[test]
fn half_a_line_at_the_end_is_not_taken() {
    let (site, process) = Site::up(ALONE, "");
    let mut client = site.client("Riley");
    client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    client.send("IAMAT half-a-line +1+1 1");
    process.signal("TERM");
    assert_eq!(client.rest(), b"");
    assert_eq!(process.end().status.code(), Some(0));
}

#[test]
fn reports_that_no_neighbour_got_are_counted_and_named_at_the_end() {
    let make = || Site::new(PAIR, "");
    let (site, riley) = Site::start(make, |site| site.run(&["serve", "Riley"]));
    let mut client = site.client("Riley");
    client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    client.ask(&format!("IAMAT plum +1+1 {T}"));
    riley.signal("TERM");
    let ended = riley.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let warning = "warning: Riley: stopped; 2 reports may be lost: no neighbour that is up \
                   acknowledged those of kiwi and plum\n";
    assert!(ended.stderr.ends_with(warning), "{ended:?}");
    assert!(site.log("Riley").contains("WARN  stopped; 2 reports"));
}

#[test]
fn reports_that_only_a_neighbour_that_has_died_got_are_named_at_the_end() {
    let (site, riley, jaquez) = pair("");
    let mut client = site.client("Riley");
    let kiwi = client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.await_report(&["Jaquez"], "kiwi", &kiwi);
    let fig = site.client("Jaquez").ask(&format!("IAMAT fig +1+1 {T}"));
    site.await_report(&["Riley"], "fig", &fig);
    let before = riley.stderr().len();
    jaquez.kill();
    riley.await_stderr_after(before, "link to Jaquez is down");
    for n in 1..=11 {
        client.ask(&format!("IAMAT plum-{n} +1+1 {T}"));
    }
    riley.signal("TERM");
    let ended = riley.end();
    let warning = "stopped; 12 reports may be lost: no neighbour that is up acknowledged those of \
                   kiwi, plum-1, plum-2, plum-3, plum-4, plum-5, plum-6, plum-7, plum-8, plum-9 \
                   and 2 others\n";
    assert!(ended.stderr.ends_with(warning), "{ended:?}");
    assert_eq!(lost(&ended), 12);
}

#[test]
fn a_whatsat_in_progress_when_the_server_stops_is_answered_whole() {
    let make = || Site::with_built_in_places(ALONE, "");
    let (site, process) = Site::start(make, |site| site.run(&["up"]));
    let mut client = site.client("Riley");
    // The places are still being loaded, so the WHATSAT waits.
    client.send(format!("IAMAT kiwi +34.06-118.44 {T}\nWHATSAT kiwi 10 1\n"));
    let at_line = client.text();
    process.signal("TERM");
    let answer = String::from_utf8(client.rest()).unwrap();
    assert_eq!(answer.lines().next(), Some(at_line.as_str()));
    let is_whole = answer.contains("\"status\" : \"OK\"")
        || (answer.contains("\"status\" : \"UNKNOWN_ERROR\"") && answer.contains("shutting down"));
    assert!(is_whole, "{answer}");
    assert!(answer.ends_with("\n}\n\n"), "{answer}");
    assert_eq!(process.end().status.code(), Some(0));
    let log = site.log("Riley");
    assert!(log.contains(&format!(" out {at_line} and ")), "{log}");
}

/// A pair whose second process is suspended: its connections stay open, without answers.
fn frozen_neighbour(settings: &str) -> (Site, Process, Process) {
    let (site, riley, jaquez) = pair(settings);
    jaquez.freeze();
    site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    (site, riley, jaquez)
}

#[test]
fn a_neighbour_that_hangs_does_not_keep_a_server_from_stopping() {
    let (_site, riley, _jaquez) = frozen_neighbour("[flooding]\ndrain = \"500ms\"\n");
    riley.signal("TERM");
    let ended = riley.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        ended.stderr.contains(
            "stopped; 1 report may be lost: no neighbour that is up acknowledged that of kiwi\n"
        ),
        "{ended:?}"
    );
}

#[test]
fn a_client_that_does_not_read_does_not_keep_a_server_from_stopping() {
    let (site, process) = Site::up(ALONE, "[flooding]\ndrain = \"500ms\"\n");
    let mut client = site.client("Riley");
    client.fill("not a command, and answered with itself\n");
    process.signal("TERM");
    let ended = process.end();
    assert_clean_stop(&ended);
}

#[test]
fn a_second_signal_stops_at_once() {
    let patient = "[flooding]\ndrain = \"1m\"\nattempt = \"1m\"\nkeep_alive = \"1m\"\n";
    let (_site, mut riley, _jaquez) = frozen_neighbour(patient);
    riley.signal("TERM");
    riley.await_stderr("stopping on SIGTERM\n");
    assert!(riley.is_running(), "it waits for its neighbour");
    riley.signal("INT");
    let ended = riley.end();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .ends_with("error: stopped at once by a second signal; reports may be lost\n"),
        "{ended:?}"
    );
}

#[test]
fn a_signal_before_serving_ends_the_process_at_once() {
    let site = Site::new(ALONE, "");
    // Loading the places never ends, since nothing is written to this pipe.
    fs::remove_file(site.path("places.csv")).unwrap();
    let made = Command::new("mkfifo").arg(site.path("places.csv")).status();
    assert!(made.unwrap().success());
    let process = Process::spawn(&mut site.command(&["up"]));
    let (opened, is_opened) = mpsc::channel();
    let pipe = site.path("places.csv");
    thread::spawn(move || opened.send(File::options().write(true).open(pipe)));
    // The pipe opens when the program reads from it.
    let writer = is_opened.recv_timeout(LIMIT).unwrap().unwrap();
    process.signal("TERM");
    assert_eq!(process.end().status.signal(), Some(15));
    drop(writer);
}

#[test]
fn a_signal_during_the_start_stops_the_server() {
    let make = || Site::with_built_in_places(ALONE, "");
    let (_site, process) = Site::start(make, |site| {
        // From its first log line on, before it prints that it serves.
        Process::spawn(&mut site.command(&["up"])).logging(&site.path("logs/Riley.log"))
    });
    process.signal("TERM");
    assert_clean_stop(&process.end());
}

/// Starts a command as the first process of a container. Returns its process ID as well, which is
/// another outside; `None` if this user may not.
fn first_process(site: &Site, arguments: &[&str]) -> Option<(Process, u32)> {
    let namespace = ["-Urpf", "--mount-proc"];
    let tried = Command::new("unshare").args(namespace).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        println!("skipped: this user may not make a namespace of processes");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(namespace).arg(env!("CARGO_BIN_EXE_proxyherd"));
    command.args(arguments).args(["--config", "herd.toml"]);
    let process = Process::spawn(command.current_dir(site.path("")).env_remove("RUST_LOG"));
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    let child = eventually("the program handles signals", || {
        let child: u32 = fs::read_to_string(&children).ok()?.trim().parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        // Before it runs the program, the child is a copy of unshare, with its handlers.
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        let caught =
            field("SigCgt:").filter(|_| field("Name:").map(str::trim) == Some("proxyherd"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & (1 << (TERM - 1)) != 0).then_some(child)
    });
    Some((process, child))
}

/// The number of SIGTERM.
const TERM: u32 = 15;

fn terminate(process: u32) {
    let kill = Command::new("kill").arg(process.to_string()).status();
    assert!(kill.unwrap().success());
}

#[test]
fn the_first_process_of_a_container_ends_on_sigterm_also_while_it_starts() {
    let site = Site::new(ALONE, "[places]\nfile = \"fifo.csv\"\n");
    let fifo = Command::new("mkfifo").arg(site.path("fifo.csv")).status();
    assert!(fifo.unwrap().success());
    for command in [&["serve", "Riley"][..], &["up"], &["check"]] {
        let Some((process, child)) = first_process(&site, command) else {
            return;
        };
        terminate(child);
        let ended = process.end();
        assert_eq!(
            ended.status.code(),
            Some(128 + 15),
            "{command:?}: {ended:?}"
        );
    }
}

#[test]
fn the_first_process_of_a_container_drains_on_sigterm() {
    let (site, _riley) = Site::up(ALONE, "");
    let Some((watch, child)) = first_process(&site, &["watch"]) else {
        return;
    };
    terminate(child);
    let ended = watch.end();
    // It may not have begun to watch.
    assert!(matches!(ended.status.code(), Some(0 | 143)), "{ended:?}");
    let make = || Site::new(ALONE, "");
    let (_site, (serving, child)) = Site::start(make, |site| {
        let (process, child) = first_process(site, &["up"]).expect("it was possible before");
        Ok((process.serving()?, child))
    });
    terminate(child);
    assert_clean_stop(&serving.end());
}
