//! Storage of processes: kills, a second process, and disks that do not work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::T;
use crate::common::{ALONE, PAIR, Process, Site, eventually};

const STORAGE: &str = "[storage]\ndir = \"state\"\nsync = \"10ms\"\n";

/// Returns whether a file of a server's storage has a text.
fn is_stored(site: &Site, server: &str, text: &str) -> bool {
    let Ok(entries) = fs::read_dir(site.path(&format!("state/{server}"))) else {
        return false;
    };
    let files = entries.map(|entry| entry.unwrap().path());
    // A file that is not complete has an extension.
    let mut states = files.filter(|path| is_state(path));
    let has_text = |bytes: Vec<u8>| contains(&bytes, text.as_bytes());
    states.any(|path| fs::read(path).is_ok_and(has_text))
}

fn is_state(path: &Path) -> bool {
    path.extension().is_none() && !path.ends_with("lock")
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn await_stored(site: &Site, server: &str, text: &str) {
    eventually("the report is stored", || {
        is_stored(site, server, text).then_some(())
    });
}

/// Returns the only state of a server.
fn state_file(site: &Site, server: &str) -> PathBuf {
    let entries = fs::read_dir(site.path(&format!("state/{server}"))).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths.find(|path| is_state(path)).unwrap()
}

fn start(site: &Site) -> Process {
    site.run(&["up"]).ok().expect("its ports are free again")
}

#[test]
fn a_herd_that_was_killed_answers_from_its_disks() {
    let (site, process) = Site::up(PAIR, STORAGE);
    let answer = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    await_stored(&site, "Riley", "kiwi");
    await_stored(&site, "Jaquez", "kiwi");
    process.kill();
    let process = start(&site);
    for server in PAIR.0 {
        assert_eq!(site.report(server, "kiwi").as_ref(), Some(&answer));
    }
    let log = site.await_log("Riley", "recovered 1 client from state/Riley in ");
    assert!(!log.contains(" WARN "), "{log}");
    let mut locate = site.command(&["locate", "kiwi"]);
    let located = Process::run(&mut locate);
    assert_eq!(located.stdout.matches("a file").count(), 2, "{located:?}");
    drop(process);
}

#[test]
fn a_second_process_is_refused_until_the_first_ends() {
    let (site, process) = Site::up(ALONE, STORAGE);
    await_file(&site);
    let other = Site::new(ALONE, STORAGE);
    let shared = format!("dir = {:?}", site.path("state"));
    other.set_config(&other.config().replace("dir = \"state\"", &shared));
    let refused = Process::run(&mut other.command(&["up"]));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let expected = format!(
        "error: cannot start server Riley: cannot use {}/Riley: another process stores a server \
         there; stop it, or set another \"dir\" under [storage]\n",
        site.path("state").display()
    );
    assert_eq!(refused.stderr, expected);
    process.kill();
    drop(
        other
            .run(&["up"])
            .ok()
            .expect("the lock ended with its process"),
    );
}

fn await_file(site: &Site) {
    eventually("a file of the storage", || {
        is_stored(site, "Riley", "Riley").then_some(())
    });
}

#[test]
fn damage_costs_a_part_and_never_the_start() {
    let (site, process) = Site::up(ALONE, STORAGE);
    let mut client = site.client("Riley");
    for name in ["kiwi", "plum"] {
        client.ask(&format!("IAMAT {name} +1+1 {T}"));
        await_stored(&site, "Riley", name);
    }
    process.kill();
    let path = state_file(&site, "Riley");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).position(|it| it == b"kiwi").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let process = start(&site);
    assert_eq!(site.report("Riley", "kiwi"), None);
    assert!(site.report("Riley", "plum").is_some());
    site.await_log(
        "Riley",
        "the storage in state/Riley is damaged in 1 place: ",
    );
    process.kill();

    // The herd has another name now.
    let herd = "name = \"test\"";
    site.set_config(&site.config().replacen(herd, "name = \"other\"", 1));
    let process = start(&site);
    assert_eq!(site.report("Riley", "plum"), None);
    site.await_log(
        "Riley",
        "belongs to \"Riley\" of the herd \"test\" and was set aside",
    );
    drop(process);
}

#[test]
fn a_server_starts_where_it_cannot_store_and_says_so() {
    let make = || {
        let site = Site::new(ALONE, STORAGE);
        fs::write(site.path("state"), "a file, not a directory").unwrap();
        site
    };
    let (site, process) = Site::start(make, |site| site.run(&["up"]));
    let expected =
        "in state/Riley; reports are kept in memory and written when the disk works again";
    site.await_log("Riley", expected);
    let answer = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    assert!(answer.starts_with("AT Riley "));
    fs::remove_file(site.path("state")).unwrap();
    site.await_log("Riley", "storage works again, after ");
    await_stored(&site, "Riley", "kiwi");
    drop(process);
}

/// Sets the maximum size of files that a process writes. Returns `false` if this system cannot.
fn limit_files(process: &Process, limit: &str) -> bool {
    let mut command = Command::new("prlimit");
    let id = process.id().to_string();
    command.args(["--pid", &id, &format!("--fsize={limit}:")]);
    command.status().is_ok_and(|status| status.success())
}

/// Starts a server whose disk can be made full, and which answers when `level` is reached. Returns
/// `None` if this system cannot limit the size of files.
fn with_limited_disk(level: &str) -> Option<(Site, Process)> {
    let clients = format!("[clients]\nacknowledge = {level:?}\n");
    // Without a log file, which would be limited too.
    let make = || {
        Site::new(
            ALONE,
            &format!("{STORAGE}{clients}[log]\nlevel = \"off\"\n"),
        )
    };
    let run = |site: &Site| {
        let program = site.command_alone(&[]).get_program().to_owned();
        let mut shell = Command::new("sh");
        // Without this, the process is killed where a disk would be full.
        let script = "trap '' XFSZ; exec \"$0\" up --config herd.toml";
        shell.args(["-c", script]).arg(program);
        shell.current_dir(site.path("")).env_remove("RUST_LOG");
        Process::spawn(&mut shell).serving()
    };
    let (site, process) = Site::start(make, run);
    await_file(&site);
    if !limit_files(&process, "1") {
        println!("skipped: prlimit is missing");
        return None;
    }
    Some((site, process))
}

#[test]
fn a_disk_that_takes_nothing_holds_back_the_answers_that_wait_for_it() {
    let Some((site, process)) = with_limited_disk("disk") else {
        return;
    };
    let mut client = site.client("Riley");
    client.send(format!("IAMAT kiwi +1+1 {T}\n"));
    let line = eventually("the status reports that answers wait", || {
        let status = Process::run(&mut site.command(&["status"]));
        let mut lines = status.stdout.lines();
        let line = lines.find(|line| line.contains("answers of 1 client connection wait"))?;
        assert_eq!(status.status.code(), Some(1));
        Some(line.to_owned())
    });
    assert!(
        line.starts_with("Riley  answers of 1 client connection wait until their reports are"),
        "{line}"
    );
    let mut other = site.client("Riley");
    assert!(other.ask("WHATSAT kiwi 0 0").contains(" kiwi +1+1 "));
    assert!(limit_files(&process, "unlimited"));
    assert!(client.text().contains(" kiwi +1+1 "));
    assert!(is_stored(&site, "Riley", "kiwi"));
}

#[test]
fn a_disk_that_takes_nothing_stops_nothing_and_loses_nothing() {
    let Some((site, process)) = with_limited_disk("received") else {
        return;
    };
    let mut client = site.client("Riley");
    for name in ["kiwi", "plum"] {
        let answer = client.ask(&format!("IAMAT {name} +1+1 {T}"));
        assert!(answer.starts_with("AT Riley "));
    }
    let status = || {
        let status = Process::run(&mut site.command(&["status", "--json"])).stdout;
        let json: serde_json::Value = serde_json::from_str(&status).unwrap();
        json["servers"][0]["status"]["storage"].clone()
    };
    let failing = eventually("a failed write", || {
        Some(status()).filter(|storage| storage["error"] != "")
    });
    assert!(
        failing["error"]
            .as_str()
            .unwrap()
            .contains("File too large")
    );
    assert_eq!(failing["lag_reports"], 2);
    assert!(limit_files(&process, "unlimited"));
    await_stored(&site, "Riley", "plum");
    eventually("no error", || {
        (status()["error"] == "" && status()["lag_reports"] == 0).then_some(())
    });
    process.kill();
    let process = start(&site);
    assert!(site.report("Riley", "kiwi").is_some() && site.report("Riley", "plum").is_some());
    drop(process);
}
