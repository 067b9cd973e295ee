//! Port 0: the system picks the ports, and a program reads them.

use std::fs::File;
use std::process::Stdio;

use serde_json::Value;

use crate::common::{Client, Ended, Process, Site, eventually};

/// Three servers in a chain, all on port 0. Juzang has a web port too.
const CHAIN: &str = r#"[herd]
name = "test"
[places]
file = "places.csv"
[[servers]]
name = "Riley"
clients = "127.0.0.1:0"
peers = "localhost:0"
talks_to = ["Jaquez"]
[[servers]]
name = "Jaquez"
clients = "localhost:0"
peers = "127.0.0.1:0"
[[servers]]
name = "Juzang"
clients = "127.0.0.1:0"
peers = "127.0.0.1:0"
bind_peers = "0.0.0.0:0"
web = "127.0.0.1:0"
talks_to = ["Jaquez"]
[security]
insecure = true
[web]
api = false
"#;

fn site() -> Site {
    let site = Site::new((&["Riley"], &[]), "");
    site.set_config(CHAIN);
    site
}

/// Starts the herd with its config as standard input, or with the file.
fn start(site: &Site, arguments: &[&str]) -> (Process, Value) {
    let mut command = site.command_alone(arguments);
    command.stdin(File::open(site.path("herd.toml")).unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = Process::spawn_with_streams(&mut command);
    let line = eventually("the addresses are printed", || {
        let stdout = process.stdout();
        stdout.ends_with('\n').then_some(stdout)
    });
    assert_eq!(line.lines().count(), 1, "{line}");
    (process, serde_json::from_str(&line).unwrap())
}

fn address<'a>(printed: &'a Value, server: usize, key: &str) -> &'a str {
    let address = printed["servers"][server][key].as_str().unwrap();
    assert!(!address.ends_with(":0"), "{address}");
    address
}

fn client(printed: &Value, server: usize) -> Client {
    let (_, port) = address(printed, server, "clients")
        .rsplit_once(':')
        .unwrap();
    Client::connect(crate::common::loopback(port.parse().unwrap()))
}

/// Reports a client at the first server, and waits until the last one has it.
fn assert_flooded(printed: &Value, id: &str) {
    let answer = client(printed, 0).ask(&format!("IAMAT {id} +34-118 1621464827"));
    assert!(answer.starts_with("AT Riley "), "{answer}");
    eventually("the last server has the report", || {
        let answer = client(printed, 2).ask(&format!("WHATSAT {id} 10 0"));
        (answer.starts_with("AT Riley ")).then_some(())
    });
}

#[test]
fn a_config_from_standard_input_with_port_0_makes_a_herd_that_a_program_finds() {
    let site = site();
    let (process, printed) = start(&site, &["up", "--config", "-", "--json"]);
    assert_eq!(printed["herd"], "test");
    assert_eq!(printed["servers"][1]["name"], "Jaquez");
    assert_eq!(printed["servers"][1]["web"], Value::Null);
    assert!(address(&printed, 1, "clients").starts_with("localhost:"));
    assert!(address(&printed, 2, "web").starts_with("127.0.0.1:"));
    assert_flooded(&printed, "kiwi");

    let queried: Vec<&str> = (0..3)
        .flat_map(|i| ["--at", address(&printed, i, "peers")])
        .collect();
    let status = Process::run(&mut site.command_alone(&[&["status"], &queried[..]].concat()));
    assert_eq!(status.status.code(), Some(0), "{status:?}");

    process.signal("HUP");
    process.await_stderr(
        "the config is from standard input, which cannot be read again; restart with --config \
         FILE to reload it on SIGHUP\n",
    );
    process.await_stderr("reload of standard input failed: nothing changed\n");
    assert_flooded(&printed, "plum");
    process.signal("TERM");
    let Ended { status, stdout, .. } = process.end();
    assert_eq!((status.code(), stdout.lines().count()), (Some(0), 1));
}

#[test]
fn a_reload_keeps_the_ports_that_were_picked() {
    let site = site();
    let (process, printed) = start(&site, &["up", "--config", "herd.toml", "--json"]);
    site.set_config(&format!("{CHAIN}[limits]\nidle = \"5min\"\n"));
    process.signal("HUP");
    process.await_stderr("reloaded herd.toml: 1 change\n");
    assert_flooded(&printed, "kiwi");
    // A port that is written out is another address.
    site.set_config(&CHAIN.replace("clients = \"localhost:0\"", "clients = \"localhost:9\""));
    process.signal("HUP");
    process.await_stderr("-> localhost:9; restart the herd to apply it\n");
    assert_flooded(&printed, "plum");
}

#[test]
fn a_server_alone_may_have_port_0_for_clients_and_its_neighbours_must_find_it() {
    let site = site();
    let refused = Process::run(&mut site.command(&["serve", "Riley"]));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    for server in ["Riley", "Jaquez"] {
        let line = format!("peers of {server} has port 0, so neighbours in other processes");
        assert!(refused.stderr.contains(&line), "{refused:?}");
    }
    site.set_config(&CHAIN.replace("talks_to", "# talks_to"));
    let (process, printed) = start(&site, &["serve", "Riley", "--config", "-", "--json"]);
    assert_eq!(printed["servers"].as_array().map(Vec::len), Some(1));
    let answer = client(&printed, 0).ask("IAMAT kiwi +34-118 1621464827");
    assert!(answer.starts_with("AT Riley "), "{answer}");
    process.signal("TERM");
    assert_eq!(process.end().status.code(), Some(0));
}
