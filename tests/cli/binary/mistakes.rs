//! Mistakes are reported with their cause and a way out, and no server starts.

use std::fs;
use std::net::{TcpListener, TcpStream};

use crate::common::{CLASSIC, Ended, PAIR, Process, Site, loopback};

/// Checks that the program printed an error, on standard error only, and did nothing.
/// Returns the error.
fn assert_failed(site: &Site, ended: &Ended) -> String {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert!(
        !site.path("logs").exists(),
        "it has begun to log: {ended:?}"
    );
    error_of(ended)
}

/// Returns the error that was printed.
fn error_of(ended: &Ended) -> String {
    // A places file is loaded first, and reported.
    let before = "2 places are loaded\n";
    let expected = ended.stderr.strip_prefix(before).unwrap_or(&ended.stderr);
    let error = expected.strip_prefix("error: ");
    error.unwrap_or_else(|| panic!("{ended:?}")).to_owned()
}

#[test]
fn while_one_port_is_taken_no_server_starts() {
    let site = Site::new(CLASSIC, "");
    let third = site.server("Juzang");
    for (port, key) in [(third.clients, "clients"), (third.peers, "peers")] {
        let taken = TcpListener::bind(loopback(port)).unwrap();
        let error = assert_failed(&site, &Process::run(&mut site.command(&["up"])));
        let cause = format!("cannot bind 127.0.0.1:{port}: Address already in use");
        assert!(error.starts_with(&cause), "{error}");
        let remedy = format!(
            "; stop the other process (is the herd running already?) or change \"{key}\" of \
             server Juzang\n"
        );
        assert!(error.ends_with(&remedy), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        for server in site
            .servers()
            .iter()
            .filter(|server| server.name != "Juzang")
        {
            assert!(TcpStream::connect(loopback(server.clients)).is_err());
            assert!(TcpStream::connect(loopback(server.peers)).is_err());
        }
        drop(taken);
    }
}

#[test]
fn a_herd_that_runs_already_is_reported() {
    let (site, _process) = Site::up(PAIR, "");
    let ended = Process::run(&mut site.command(&["up"]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("is the herd running already?"),
        "{ended:?}"
    );
    site.client("Riley").ask("it still serves");
}

#[test]
fn an_address_of_another_machine_is_reported() {
    let site = Site::new((&["Riley"], &[]), "");
    let config = site
        .config()
        .replace("clients = \"127.0.0.1:", "clients = \"192.0.2.7:");
    site.set_config(&config);
    let error = assert_failed(&site, &Process::run(&mut site.command(&["up"])));
    assert!(error.starts_with("cannot bind 192.0.2.7:"), "{error}");
    assert!(error.contains("or set its \"bind_clients\""), "{error}");
}

#[test]
fn while_one_log_cannot_be_opened_no_server_starts() {
    let site = Site::new(CLASSIC, "");
    // A directory stands where the third server's log belongs.
    fs::create_dir_all(site.path("logs/Juzang.log")).unwrap();
    let ended = Process::run(&mut site.command(&["up"]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let error = error_of(&ended);
    let expected = "cannot open the log logs/Juzang.log: ";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.contains("`dir` in [log]"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for server in CLASSIC.0 {
        assert_eq!(site.log(server), "", "{server} has started");
    }
}

#[test]
fn warnings_about_the_config_are_reported_and_the_herd_runs() {
    let (site, process) = Site::up((&["Riley", "Jaquez"], &[]), "");
    process.await_stderr("warning: the herd is in 2 parts with no link between them");
    site.client("Riley").ask("it serves");
}
