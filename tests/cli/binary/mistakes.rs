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
fn a_mistake_in_the_config_is_reported_by_file_and_line() {
    for (right, wrong, expected) in [
        (
            "name = \"test\"",
            "nmae = \"test\"",
            &[
                "herd.toml:1: [herd] needs name",
                "\nherd.toml:2: [herd] has no key \"nmae\"; it has name",
            ][..],
        ),
        (
            "talks_to = [\"Jaquez\"]",
            "talks_to = [\"Jaques\"]",
            &[
                "herd.toml:7: talks_to names \"Jaques\"",
                "did you mean \"Jaquez\"",
            ],
        ),
        (
            "name = \"Riley\"",
            "name = Riley",
            &["herd.toml:4:8: invalid TOML"],
        ),
        (
            "clients = \"127.0.0.1:",
            "clients = \"127.0.0.1.1:",
            &["herd.toml:5: clients = \"127.0.0.1.1:"],
        ),
    ] {
        let site = Site::new(PAIR, "");
        let config = site.config();
        assert!(config.contains(right));
        site.set_config(&config.replacen(right, wrong, 1));
        for arguments in [&["up"][..], &["serve", "Riley"], &["check"]] {
            let error = assert_failed(&site, &Process::run(&mut site.command(arguments)));
            assert!(error.starts_with(expected[0]), "{error}");
            assert!(expected.iter().all(|text| error.contains(text)), "{error}");
        }
    }
}

#[test]
fn all_mistakes_of_a_config_are_reported_at_once() {
    let site = Site::new(PAIR, "[limits]\nmax_line = 1\nidle = \"soon\"\n[colour]\n");
    let error = assert_failed(&site, &Process::run(&mut site.command(&["up"])));
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(
        lines[0].contains("max_line") && lines[0].contains("512"),
        "{error}"
    );
    assert!(
        lines[1].contains("idle") && lines[1].contains("10min"),
        "{error}"
    );
    assert!(lines[2].contains("colour"), "{error}");
}

#[test]
fn an_unknown_server_is_reported_with_the_servers_of_the_config() {
    let site = Site::new(PAIR, "");
    let error = assert_failed(&site, &Process::run(&mut site.command(&["serve", "riley"])));
    assert_eq!(
        error,
        "herd.toml: there is no server \"riley\"; the servers are Riley and Jaquez; \
         did you mean \"Riley\" (case counts)?\n"
    );
    let ended = Process::run(&mut site.command(&["serve", "\u{1b}[2JRiley\n"]));
    let error = assert_failed(&site, &ended);
    assert!(!error.trim_end().contains(char::is_control), "{error:?}");
}

#[test]
fn a_missing_config_is_reported_with_the_argument_that_names_one() {
    let site = Site::new(PAIR, "");
    let ended = Process::run(&mut site.command_alone(&["up"]));
    let error = assert_failed(&site, &ended);
    assert!(
        error.starts_with("config/herd.toml: no such file; name another one with --config FILE"),
        "{error}"
    );
    let deceptive = ["up", "--config", "\u{1b}[2Jno such\nfile"];
    let error = assert_failed(&site, &Process::run(&mut site.command_alone(&deceptive)));
    assert!(error.starts_with("\\x1b[2Jno such\n"), "{error:?}");
    let ended = Process::run(&mut site.command_alone(&["up", "--config", "."]));
    assert!(assert_failed(&site, &ended).contains("is a directory"));
}

#[test]
fn plaintext_beyond_loopback_must_be_permitted() {
    let site = Site::new(PAIR, "");
    let peers = site.server("Jaquez").peers;
    let config = site.config().replace(
        &format!("peers = \"127.0.0.1:{peers}\""),
        &format!("peers = \"192.0.2.7:{peers}\""),
    );
    site.set_config(&config);
    for arguments in [&["up"][..], &["serve", "Riley"], &["serve", "Jaquez"]] {
        let error = assert_failed(&site, &Process::run(&mut site.command(arguments)));
        assert!(error.contains(&format!("192.0.2.7:{peers}")), "{error}");
        assert!(
            error.contains("set certificates under [security]"),
            "{error}"
        );
    }
    let check = Process::run(&mut site.command(&["check"]));
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert!(
        check.stdout.contains("Set certificates or insecure = true"),
        "{check:?}"
    );
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
fn a_mistake_in_a_places_file_is_reported_by_file_and_line() {
    let site = Site::new(PAIR, "");
    fs::write(
        site.path("places.csv"),
        "name,lat,lon\nHere,1,1\nThere,north,1\n",
    )
    .unwrap();
    for command in ["up", "check"] {
        let error = assert_failed(&site, &Process::run(&mut site.command(&[command])));
        assert!(error.contains("places.csv"), "{error}");
        assert!(error.contains('3') && error.contains("north"), "{error}");
    }
}

#[test]
fn warnings_about_the_config_are_reported_and_the_herd_runs() {
    let (site, process) = Site::up((&["Riley", "Jaquez"], &[]), "");
    process.await_stderr("warning: the herd is in 2 parts with no link between them");
    site.client("Riley").ask("it serves");
}
