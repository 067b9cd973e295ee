//! SIGHUP: the config is read again, and what of it can change does.

use std::fs;

use serde_json::Value;

use super::T;
use crate::common::{Process, Site, Topology, eventually, free_ports, loopback};

const ALONE: Topology<'static> = (&["Riley"], &[]);
const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);
/// Two servers of a herd that do not talk.
const APART: Topology<'static> = (&["Riley", "Jaquez"], &[]);

/// The config whose Riley talks to Jaquez, or does not.
fn with_link(site: &Site, is_there: bool) -> String {
    let [with, without] = ["talks_to = [\"Jaquez\"]", "talks_to = []"];
    let config = site.config().replace(with, without);
    match is_there {
        true => config.replacen(without, with, 1),
        false => config,
    }
}

/// Has a process read the config again, and waits until it has told so.
#[track_caller]
fn reload(process: &Process, outcome: &str) {
    let before = process.stderr().matches("was read again").count();
    process.signal("HUP");
    let told = eventually("it tells that it read the config", || {
        let told = process.stderr();
        (told.matches("was read again").count() > before).then_some(told)
    });
    let last = told.lines().rfind(|line| line.contains("was read again"));
    assert!(last.is_some_and(|line| line.ends_with(outcome)), "{told}");
}

/// What a server tells of itself.
fn status(site: &Site, server: &str) -> Value {
    let told = Process::run(&mut site.command(&["status", "--json"]));
    let herd: Value = serde_json::from_str(&told.stdout).unwrap();
    let mut servers = herd["servers"].as_array().unwrap().iter();
    let found = servers.find(|told| told["server"] == server);
    found.unwrap()["status"].clone()
}

#[test]
fn the_level_changes_and_the_transcript_with_it() {
    let (site, process) = Site::up(ALONE, "[log]\nlevel = \"info\"\n");
    let mut client = site.client("Riley");
    let set_level = |level: &str| {
        let config = site.config();
        let (before, _) = config.split_once("level = ").unwrap();
        site.set_config(&format!("{before}level = \"{level}\"\n"));
        reload(&process, ": 1 change");
    };
    set_level("off");
    site.await_log("Riley", "INFO  log.level: info -> off");
    client.ask(&format!("IAMAT hidden +1+1 {T}"));
    set_level("debug");
    site.await_log("Riley", "INFO  log.level: off -> debug");
    client.ask(&format!("IAMAT shown +1+1 {T}"));
    site.await_log("Riley", "in  IAMAT shown");
    assert!(!site.log("Riley").contains("IAMAT hidden"));
    reload(&process, ": nothing changed");
}

#[test]
fn a_level_that_the_environment_says_stays_and_that_is_told() {
    let make = || Site::new(ALONE, "[log]\nlevel = \"info\"\n");
    let (site, process) = Site::start(make, |site| {
        let mut command = site.command(&["serve", "Riley"]);
        Process::spawn(command.env("RUST_LOG", "warn")).serving()
    });
    site.set_config(&site.config().replace("\"info\"", "\"trace\""));
    reload(&process, ": nothing changed, 1 setting stays as it was");
    process.await_stderr("log.level: info -> trace: RUST_LOG is set, and wins over it\n");
}

#[test]
fn a_file_that_is_wrong_changes_nothing_and_is_told_as_check_tells_it() {
    let (site, process) = Site::up(ALONE, "[limits]\nmax_connections = 5\n");
    let right = site.config();
    let wrong = right.replace("= 5", "= 1") + "idle = \"soon\"\n[colour]\n";
    site.set_config(&wrong);
    let checked = Process::run(&mut site.command(&["check"]));
    assert_eq!(checked.status.code(), Some(1));
    reload(&process, "and can not be used: nothing changed");
    let told = process.stderr();
    for line in checked.stderr.lines() {
        let line = line.trim_start_matches("error: ");
        assert!(
            told.contains(&format!("error: {line}\n")),
            "{line}\nin\n{told}"
        );
    }
    site.set_config(&right);
    let config = status(&site, "Riley")["config"].clone();
    assert_eq!(config["taken"], false, "{config}");
    assert!(config["read_at"] != config["taken_at"], "{config}");
    // More than the one that the wrong file would let in.
    let mut clients = [site.client("Riley"), site.client("Riley")];
    for client in &mut clients {
        assert!(
            client
                .ask(&format!("IAMAT kiwi +1+1 {T}"))
                .starts_with("AT ")
        );
    }
    reload(&process, ": nothing changed");
    assert_eq!(status(&site, "Riley")["config"]["taken"], true);
}

#[test]
fn what_can_not_change_is_told_by_name_and_all_else_does() {
    let (site, process) = {
        let make = || Site::new(PAIR, "[limits]\nmax_connections = 5\n");
        Site::start(make, |site| site.run(&["serve", "Riley"]))
    };
    let elsewhere = free_ports(1)[0];
    let riley = site.server("Riley").clients;
    let config = site
        .config()
        .replace(
            "max_connections = 5",
            "max_connections = 1\nexpire_after = \"1h\"",
        )
        .replace(&riley.to_string(), &elsewhere.to_string());
    site.set_config(&(config + "[flooding]\nheartbeat = \"1s\"\n"));
    reload(&process, ": 1 change, 3 settings stay as they were");
    let told = process.stderr();
    for line in [
        &format!("Riley.clients: 127.0.0.1:{riley} -> 127.0.0.1:{elsewhere}"),
        "limits.expire_after: off -> 1h",
        "flooding.heartbeat: 500ms -> 1s",
    ] {
        let line = format!("warning: {line}; restart Riley to apply it\n");
        assert!(told.contains(&line), "{line:?} in\n{told}");
    }
    assert!(
        told.contains("\nlimits.max_connections: 5 -> 1\n"),
        "{told}"
    );
    let mut first = site.client("Riley");
    assert!(
        first
            .ask(&format!("IAMAT kiwi +1+1 {T}"))
            .starts_with("AT ")
    );
    let second = site.client("Riley").rest_until_cut();
    assert!(second.is_empty(), "there is room for one");
}

#[test]
fn a_neighbour_that_is_added_on_both_sides_is_linked_and_one_that_is_removed_is_not() {
    let (site, processes) = Site::serve_each(APART, "");
    let [riley, jaquez] = &processes[..] else {
        panic!("two servers");
    };
    let kiwi = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    site.set_config(&with_link(&site, true));
    reload(riley, ": 1 change");
    riley.await_stderr("Riley: link to Jaquez at 127.0.0.1:");
    riley.await_stderr("\"Riley\" is not a neighbour of this server");
    reload(jaquez, ": 1 change");
    site.await_log("Riley", "link to Jaquez is up");
    site.await_log("Jaquez", "link to Riley is up");
    site.await_report(&["Jaquez"], "kiwi", &kiwi);

    site.set_config(&with_link(&site, false));
    reload(riley, ": 1 change");
    riley.await_stderr("Riley: link to Jaquez removed");
    jaquez.await_stderr("\"Jaquez\" is not a neighbour of this server");
    assert_eq!(status(&site, "Riley")["links"], serde_json::json!([]));
    // Its link is gone, so nothing can take this there.
    let plum = site.client("Riley").ask(&format!("IAMAT plum +1+1 {T}"));
    reload(jaquez, ": 1 change");
    assert_eq!(site.report("Jaquez", "plum"), None);
    assert_eq!(
        site.report("Jaquez", "kiwi"),
        Some(kiwi),
        "what was sent stays"
    );

    site.set_config(&with_link(&site, true));
    reload(riley, ": 1 change");
    reload(jaquez, ": 1 change");
    site.await_report(&["Jaquez"], "plum", &plum);
    let pear = site.client("Jaquez").ask(&format!("IAMAT pear +1+1 {T}"));
    site.await_report(&["Riley"], "pear", &pear);
}

#[test]
fn all_servers_of_a_process_take_the_new_file() {
    let (site, process) = Site::up(APART, "");
    site.set_config(&with_link(&site, true));
    reload(&process, ": 2 changes");
    for (server, other) in [("Riley", "Jaquez"), ("Jaquez", "Riley")] {
        let client = format!("of-{server}");
        let at_line = site.client(server).ask(&format!("IAMAT {client} +1+1 {T}"));
        site.await_report(&[other], &client, &at_line);
    }
}

#[test]
fn a_neighbour_that_moved_is_reached_where_it_is_now() {
    let start = |site: &Site| {
        let nowhere = free_ports(1)[0].to_string();
        let jaquez = site.server("Jaquez").peers.to_string();
        let config = site.config().replace(&jaquez, &nowhere);
        fs::write(site.path("riley.toml"), config).unwrap();
        let mut riley = site.command_alone(&["serve", "Riley", "--config", "riley.toml"]);
        Ok((
            Process::spawn(&mut riley).serving()?,
            site.run(&["serve", "Jaquez"])?,
        ))
    };
    let (site, (riley, _jaquez)) = Site::start(|| Site::new(PAIR, ""), start);
    riley.await_stderr("link to Jaquez is down");
    fs::write(site.path("riley.toml"), site.config()).unwrap();
    reload(&riley, ": 1 change");
    let jaquez = loopback(site.server("Jaquez").peers);
    riley.await_stderr(&format!("Riley reaches Jaquez at {jaquez} now, not at "));
    riley.await_stderr("Riley: link to Jaquez is up");
}

#[test]
fn no_hangup_ends_a_server_and_the_last_one_counts() {
    let (site, mut process) = Site::up(ALONE, "[limits]\nmax_waiting = 16\n");
    let config = site.config();
    for most in 100..140 {
        // One write, so that a half of it is never read.
        let next = site.path("next.toml");
        fs::write(&next, config.replace("= 16", &format!("= {most}"))).unwrap();
        fs::rename(&next, site.path("herd.toml")).unwrap();
        process.signal("HUP");
    }
    process.await_stderr("-> 139\n");
    assert!(process.is_running());
    assert!(!process.stderr().contains("can not be used"));
    process.signal("TERM");
    process.signal("HUP");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}
