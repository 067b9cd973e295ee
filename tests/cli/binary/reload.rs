//! SIGHUP: the config is read again, and what can change is applied.

use std::fs;

use serde_json::Value;

use super::T;
use crate::common::{PAIR, Process, Site, Topology, eventually, free_ports, loopback};

const ALONE: Topology<'static> = (&["Riley"], &[]);
/// Two servers without a link.
const UNLINKED: Topology<'static> = (&["Riley", "Jaquez"], &[]);

/// Returns the config with or without the link from Riley to Jaquez.
fn with_link(site: &Site, has_link: bool) -> String {
    let [with, without] = ["talks_to = [\"Jaquez\"]", "talks_to = []"];
    let config = site.config().replace(with, without);
    if has_link {
        config.replacen(without, with, 1)
    } else {
        config
    }
}

/// Returns the line of each reload so far.
fn reloads(process: &Process) -> Vec<String> {
    let stderr = process.stderr();
    let is_reload =
        |line: &&str| line.starts_with("reloaded ") || line.starts_with("error: reload of ");
    let whole = stderr.rfind('\n').map_or("", |end| &stderr[..end]);
    whole.lines().filter(is_reload).map(str::to_owned).collect()
}

/// Makes a process read the config again, and waits for the outcome.
#[track_caller]
fn reload(process: &Process, outcome: &str) {
    let before = reloads(process).len();
    process.signal("HUP");
    let line = eventually("the config is read", || {
        reloads(process).into_iter().nth(before)
    });
    assert!(line.ends_with(outcome), "{line}");
}

/// Returns the status of a server.
fn status(site: &Site, server: &str) -> Value {
    let ended = Process::run(&mut site.command(&["status", "--json"]));
    let herd: Value = serde_json::from_str(&ended.stdout).unwrap();
    let mut servers = herd["servers"].as_array().unwrap().iter();
    let found = servers.find(|status| status["server"] == server);
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
fn a_level_from_the_environment_stays_and_is_reported() {
    let make = || Site::new(ALONE, "[log]\nlevel = \"info\"\n");
    let (site, process) = Site::start(make, |site| {
        let mut command = site.command(&["serve", "Riley"]);
        Process::spawn(command.env("RUST_LOG", "warn")).serving()
    });
    site.set_config(&site.config().replace("\"info\"", "\"trace\""));
    reload(&process, ": nothing changed, 1 setting unchanged");
    process.await_stderr("log.level: info -> trace; RUST_LOG is set and overrides it\n");
}

#[test]
fn a_file_with_mistakes_changes_nothing_and_is_reported_as_check_does() {
    let (site, process) = Site::up(ALONE, "[limits]\nmax_connections = 5\n");
    let right = site.config();
    let wrong = right.replace("= 5", "= 1") + "idle = \"soon\"\n[colour]\n";
    site.set_config(&wrong);
    let checked = Process::run(&mut site.command(&["check"]));
    assert_eq!(checked.status.code(), Some(1));
    reload(&process, "failed: nothing changed");
    let stderr = process.stderr();
    for line in checked.stderr.lines() {
        let line = line.trim_start_matches("error: ");
        assert!(
            stderr.contains(&format!("error: {line}\n")),
            "{line}\nin\n{stderr}"
        );
    }
    site.set_config(&right);
    let config = status(&site, "Riley")["config"].clone();
    assert_eq!(config["last_reload_successful"], false, "{config}");
    assert!(
        config["last_reload_at"] != config["last_success_at"],
        "{config}"
    );
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
    assert_eq!(
        status(&site, "Riley")["config"]["last_reload_successful"],
        true
    );
}

#[test]
fn settings_that_need_a_restart_are_reported_and_the_others_apply() {
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
    reload(&process, ": 1 change, 3 settings unchanged");
    let stderr = process.stderr();
    for line in [
        &format!("Riley.clients: 127.0.0.1:{riley} -> 127.0.0.1:{elsewhere}"),
        "limits.expire_after: off -> 1h",
        "flooding.heartbeat: 500ms -> 1s",
    ] {
        let line = format!("warning: {line}; restart Riley to apply it\n");
        assert!(stderr.contains(&line), "{line:?} in\n{stderr}");
    }
    assert!(
        stderr.contains("\nlimits.max_connections: 5 -> 1\n"),
        "{stderr}"
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
fn a_neighbour_added_on_both_sides_is_linked_and_a_removed_one_is_not() {
    let (site, processes) = Site::serve_each(UNLINKED, "");
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
    // Without the link this does not reach Jaquez.
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
fn a_reload_applies_to_all_servers_of_a_process() {
    let (site, process) = Site::up(UNLINKED, "");
    site.set_config(&with_link(&site, true));
    reload(&process, ": 2 changes");
    for (server, other) in [("Riley", "Jaquez"), ("Jaquez", "Riley")] {
        let client = format!("of-{server}");
        let at_line = site.client(server).ask(&format!("IAMAT {client} +1+1 {T}"));
        site.await_report(&[other], &client, &at_line);
    }
}

#[test]
fn a_neighbour_is_reached_at_its_new_address() {
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
    riley.await_stderr("Riley: link to Jaquez moved from ");
    riley.await_stderr(&format!(" to {jaquez}\n"));
    riley.await_stderr("Riley: link to Jaquez is up");
}

#[test]
fn many_hangups_apply_the_last_config() {
    let (site, mut process) = Site::up(ALONE, "[limits]\nmax_waiting = 16\n");
    let config = site.config();
    for limit in 100..140 {
        // A rename, so that half a file is never read.
        let next = site.path("next.toml");
        fs::write(&next, config.replace("= 16", &format!("= {limit}"))).unwrap();
        fs::rename(&next, site.path("herd.toml")).unwrap();
        process.signal("HUP");
    }
    process.await_stderr("-> 139\n");
    assert!(process.is_running());
    assert!(!process.stderr().contains("reload of "));
    process.signal("TERM");
    process.signal("HUP");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}
