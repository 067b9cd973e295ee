//! Storage of processes: kills, a second process, and disks that do not work.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::T;
use crate::common::{ALONE, PAIR, PortTaken, Process, Site, eventually};

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

fn start_again(site: &Site) -> Process {
    site.run(&["up"]).ok().expect("its ports are free again")
}

#[test]
fn a_herd_that_was_killed_answers_from_its_disks() {
    let (site, process) = Site::up(PAIR, STORAGE);
    let answer = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    await_stored(&site, "Riley", "kiwi");
    await_stored(&site, "Jaquez", "kiwi");
    process.kill();
    let process = start_again(&site);
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
    let process = start_again(&site);
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
    let process = start_again(&site);
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
    let failing = await_error(&site, "File too large");
    assert_eq!(failing["lag_reports"], 2);
    assert!(limit_files(&process, "unlimited"));
    await_stored(&site, "Riley", "plum");
    await_error(&site, "");
    eventually("nothing is missing on the disk", || {
        (storage_status(&site)["lag_reports"] == 0).then_some(())
    });
    process.kill();
    let process = start_again(&site);
    assert!(site.report("Riley", "kiwi").is_some() && site.report("Riley", "plum").is_some());
    drop(process);
}

/// The arguments of `unshare` by which this user may mount disks in a namespace of a program, and
/// those of `nsenter` by which another program joins it. `None`, with a word, if there are none.
fn mount_arguments() -> Option<(&'static [&'static str], &'static [&'static str])> {
    let ways: [(&[&str], &[&str]); 2] = [
        (&["--mount"], &["--mount"]),
        (
            &["--map-root-user", "--mount"],
            &["--user", "--preserve-credentials", "--mount"],
        ),
    ];
    let may_mount = |(unshare, _): &(&[&str], &[&str])| {
        let mut command = Command::new("unshare");
        command.args(*unshare);
        command.args(["sh", "-c", "mount -t tmpfs none /mnt"]);
        command.output().is_ok_and(|tried| tried.status.success())
    };
    let way = ways.into_iter().find(may_mount);
    if way.is_none() {
        println!("skipped: this user may not mount a disk");
    }
    way
}

/// Runs the herd of a site where a script has mounted disks.
fn up_where_mounted(site: &Site, unshare: &[&str], script: &str) -> Result<Process, PortTaken> {
    let mut command = Command::new("unshare");
    command.args(unshare);
    command.args(["sh", "-c", &format!("{script} && exec \"$@\""), "sh"]);
    command.arg(env!("CARGO_BIN_EXE_proxyherd"));
    command.args(["up", "--config", "herd.toml"]);
    command.current_dir(site.path("")).env_remove("RUST_LOG");
    Process::spawn(&mut command).serving()
}

fn storage_status(site: &Site) -> serde_json::Value {
    let status = Process::run(&mut site.command(&["status", "--json"])).stdout;
    let json: serde_json::Value = serde_json::from_str(&status).unwrap();
    json["servers"][0]["status"]["storage"].clone()
}

/// Waits until the status has an error of the storage with this text; "" for none.
#[track_caller]
fn await_error(site: &Site, text: &str) -> serde_json::Value {
    eventually(&format!("the storage has the error {text:?}"), || {
        let storage = storage_status(site);
        let error = storage["error"].as_str().unwrap();
        let is_it = error.contains(text) && error.is_empty() == text.is_empty();
        is_it.then_some(storage)
    })
}

/// Lets a server store the report of kiwi, and kills it.
fn store_kiwi(site: &Site) -> Result<(), PortTaken> {
    let process = site.run(&["up"])?;
    let answer = site.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    assert!(answer.starts_with("AT Riley "), "{answer}");
    await_stored(site, "Riley", "kiwi");
    process.kill();
    Ok(())
}

#[test]
fn a_full_disk_holds_back_the_answers_that_wait_for_it_until_it_has_room() {
    const CLIENTS: usize = 100;
    let Some((unshare, _)) = mount_arguments() else {
        return;
    };
    let make = || {
        let site = Site::new(
            ALONE,
            &format!("{STORAGE}[clients]\nacknowledge = \"disk\"\n"),
        );
        fs::create_dir(site.path("state")).unwrap();
        site
    };
    let mount = "mount -t tmpfs -o size=64k none state";
    let (site, process) = Site::start(make, |site| up_where_mounted(site, unshare, mount));
    let mut client = site.client("Riley");
    let answer = client.ask(&format!("IAMAT kiwi +1+1 {T}"));
    assert!(answer.starts_with("AT Riley "), "{answer}");
    // The program's own view of its files.
    let state = site.path("state");
    let state = PathBuf::from(format!("/proc/{}/root{}", process.id(), state.display()));
    let filler = state.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
    drop(file);

    let lines = (0..CLIENTS).map(|n| format!("IAMAT client-{n} +1+1 {T}\n"));
    client.send(lines.collect::<String>());
    let failing = await_error(&site, "No space left on device");
    assert_ne!(failing["lag_reports"], 0);
    let status = Process::run(&mut site.command(&["status"]));
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let last = CLIENTS - 1;
    assert!(site.report("Riley", &format!("client-{last}")).is_some());

    fs::remove_file(filler).unwrap();
    for n in 0..CLIENTS {
        let answer = client.text();
        assert!(answer.contains(&format!(" client-{n} ")), "{answer}");
    }
    await_error(&site, "");
    let stored = fs::read_dir(state.join("Riley")).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        is_state(&path)
            && contains(
                &fs::read(path).unwrap(),
                format!("client-{last}").as_bytes(),
            )
    });
    assert!(stored);
}

#[test]
fn a_folder_that_is_read_only_is_read_and_written_once_it_can_be() {
    let Some((unshare, nsenter)) = mount_arguments() else {
        return;
    };
    let mount = "mount --bind state state && mount -o remount,bind,ro state";
    let start = |site: &Site| {
        store_kiwi(site)?;
        up_where_mounted(site, unshare, mount)
    };
    let (site, process) = Site::start(|| Site::new(ALONE, STORAGE), start);
    assert!(site.report("Riley", "kiwi").is_some());
    let answer = site.client("Riley").ask(&format!("IAMAT plum +1+1 {T}"));
    assert!(answer.starts_with("AT Riley "), "{answer}");
    await_error(&site, "Read-only file system");
    site.await_log("Riley", "reports are kept in memory and written when");

    let mut remount = Command::new("nsenter");
    remount.args(["--target", &process.id().to_string()]);
    remount
        .args(nsenter)
        .args(["mount", "-o", "remount,bind,rw"]);
    let remounted = Process::run(remount.arg(site.path("state")));
    assert!(remounted.status.success(), "{remounted:?}");
    await_error(&site, "");
    await_stored(&site, "Riley", "plum");
    process.kill();
    let process = start_again(&site);
    for client in ["kiwi", "plum"] {
        assert!(site.report("Riley", client).is_some(), "{client}");
    }
    drop(process);
}

/// Gives a directory and all in it to a user.
fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        entries.for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

#[test]
fn a_folder_of_another_owner_is_used_once_it_is_ones_own_and_hides_no_file() {
    const NOBODY: u32 = 65534;
    if fs::metadata("/proc/self").map_or(1, |it| it.uid()) != 0 {
        return println!("skipped: only root can start a program as another user");
    }
    let make = || {
        let site = Site::new(ALONE, STORAGE);
        let mode = fs::Permissions::from_mode;
        fs::set_permissions(site.path(""), mode(0o755)).unwrap();
        // The directory of the original may be closed to others.
        fs::copy(env!("CARGO_BIN_EXE_proxyherd"), site.path("program")).unwrap();
        site
    };
    let start = |site: &Site| {
        store_kiwi(site)?;
        let closed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(site.path("state/Riley"), closed).unwrap();
        give(&site.path("logs"), NOBODY);
        let mut command = Command::new(site.path("program"));
        command.args(["up", "--config", "herd.toml"]);
        command.current_dir(site.path("")).env_remove("RUST_LOG");
        Process::spawn(command.uid(NOBODY).gid(NOBODY)).serving()
    };
    let (site, process) = Site::start(make, start);
    assert_eq!(site.report("Riley", "kiwi"), None);
    let answer = site.client("Riley").ask(&format!("IAMAT plum +1+1 {T}"));
    assert!(answer.starts_with("AT Riley "), "{answer}");
    let failing = await_error(&site, "Permission denied");
    assert_eq!(failing["recovery"]["files_unreadable"], 1, "{failing}");

    give(&site.path("state"), NOBODY);
    await_error(&site, "");
    await_stored(&site, "Riley", "plum");
    let log = site.await_log("Riley", "could not be read at the start and was set aside");
    let (_, command) = log.split_once("\"proxyherd ").unwrap();
    let command = command.trim_end_matches('"');
    let arguments: Vec<&str> = command.split(' ').collect();
    let imported = Process::run(&mut site.command(&arguments));
    assert!(imported.stdout.contains("1 newer"), "{imported:?}");
    assert!(site.report("Riley", "kiwi").is_some());
    drop(process);
}
