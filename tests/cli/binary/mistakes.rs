//! What is wrong is told with its cause and the way out, and nothing starts
//! half.

use std::fs;
use std::net::{TcpListener, TcpStream};

use crate::common::{CLASSIC, Ended, Process, Site, Topology, loopback};

const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

/// It told what is wrong, on stderr only, and did nothing.
fn refused(site: &Site, ended: &Ended) -> String {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert!(
        !site.path("logs").exists(),
        "it has begun to log: {ended:?}"
    );
    error_of(ended)
}

/// What it told, behind `error: `.
fn error_of(ended: &Ended) -> String {
    // An operator's own places are read, and said to be in order, first.
    let before = "2 places are loaded\n";
    let told = ended.stderr.strip_prefix(before).unwrap_or(&ended.stderr);
    let error = told.strip_prefix("error: ");
    error.unwrap_or_else(|| panic!("{ended:?}")).to_owned()
}

#[test]
fn a_config_that_is_wrong_is_told_by_file_and_line_and_nothing_runs() {
    for (right, wrong, told) in [
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
            let error = refused(&site, &Process::run(&mut site.command(arguments)));
            assert!(error.starts_with(told[0]), "{error}");
            assert!(told.iter().all(|words| error.contains(words)), "{error}");
        }
    }
}

#[test]
fn all_mistakes_of_a_config_are_told_at_once() {
    let site = Site::new(PAIR, "[limits]\nmax_line = 1\nidle = \"soon\"\n[colour]\n");
    let error = refused(&site, &Process::run(&mut site.command(&["up"])));
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
fn a_server_that_the_config_does_not_name_is_told_with_those_that_it_does() {
    let site = Site::new(PAIR, "");
    let error = refused(&site, &Process::run(&mut site.command(&["serve", "riley"])));
    assert_eq!(
        error,
        "herd.toml: there is no server \"riley\"; the servers are Riley and Jaquez; \
         did you mean \"Riley\" (case counts)?\n"
    );
    let ended = Process::run(&mut site.command(&["serve", "\u{1b}[2JRiley\n"]));
    let error = refused(&site, &ended);
    assert!(!error.trim_end().contains(char::is_control), "{error:?}");
}

#[test]
fn a_config_that_is_missing_is_told_with_the_way_to_name_one() {
    let site = Site::new(PAIR, "");
    let ended = Process::run(&mut site.command_alone(&["up"]));
    let error = refused(&site, &ended);
    assert!(
        error.starts_with("config/herd.toml: no such file; name another one with --config FILE"),
        "{error}"
    );
    let deceptive = ["up", "--config", "\u{1b}[2Jno such\nfile"];
    let error = refused(&site, &Process::run(&mut site.command_alone(&deceptive)));
    assert!(error.starts_with("\\x1b[2Jno such\n"), "{error:?}");
    let ended = Process::run(&mut site.command_alone(&["up", "--config", "."]));
    assert!(refused(&site, &ended).contains("is a directory"));
}

#[test]
fn talk_beyond_loopback_needs_the_word_of_the_operator() {
    let site = Site::new(PAIR, "");
    let peers = site.server("Jaquez").peers;
    let config = site.config().replace(
        &format!("peers = \"127.0.0.1:{peers}\""),
        &format!("peers = \"192.0.2.7:{peers}\""),
    );
    site.set_config(&config);
    for arguments in [&["up"][..], &["serve", "Riley"], &["serve", "Jaquez"]] {
        let error = refused(&site, &Process::run(&mut site.command(arguments)));
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
        let error = refused(&site, &Process::run(&mut site.command(&["up"])));
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
fn a_herd_that_runs_already_is_told() {
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
fn an_address_that_is_not_this_machine_s_is_told() {
    let site = Site::new((&["Riley"], &[]), "");
    let config = site
        .config()
        .replace("clients = \"127.0.0.1:", "clients = \"192.0.2.7:");
    site.set_config(&config);
    let error = refused(&site, &Process::run(&mut site.command(&["up"])));
    assert!(error.starts_with("cannot bind 192.0.2.7:"), "{error}");
    assert!(error.contains("or set its \"bind_clients\""), "{error}");
}

#[test]
fn while_one_log_can_not_be_opened_no_server_starts() {
    let site = Site::new(CLASSIC, "");
    // A directory stands where the third server's log belongs.
    fs::create_dir_all(site.path("logs/Juzang.log")).unwrap();
    let ended = Process::run(&mut site.command(&["up"]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let error = error_of(&ended);
    let told = "cannot open the log logs/Juzang.log: ";
    assert!(error.starts_with(told), "{error}");
    assert!(error.contains("`dir` in [log]"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for server in CLASSIC.0 {
        assert_eq!(site.log(server), "", "{server} has started");
    }
}

#[test]
fn a_list_of_places_that_is_wrong_is_told_by_file_and_line() {
    let site = Site::new(PAIR, "");
    fs::write(
        site.path("places.csv"),
        "name,lat,lon\nHere,1,1\nThere,north,1\n",
    )
    .unwrap();
    for command in ["up", "check"] {
        let error = refused(&site, &Process::run(&mut site.command(&[command])));
        assert!(error.contains("places.csv"), "{error}");
        assert!(error.contains('3') && error.contains("north"), "{error}");
    }
}

#[test]
fn what_is_worth_a_second_look_is_told_and_the_herd_runs() {
    let (site, process) = Site::up((&["Riley", "Jaquez"], &[]), "");
    process.await_stderr("warning: the herd is in 2 parts with no link between them");
    site.client("Riley").ask("it serves");
}
