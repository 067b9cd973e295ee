//! `export` and `import` with running and stopped servers.

use std::fs::{self, File};
use std::process::Stdio;

use crate::common::{ALONE, Ended, PAIR, Process, Site, eventually};

const STORAGE: &str = "[storage]\ndir = \"state\"\nsync = \"10ms\"\n";

/// A client's time.
const T: u64 = 1_621_464_827;

fn run(site: &Site, arguments: &[&str]) -> Ended {
    Process::run(&mut site.command(arguments))
}

/// Asserts that a command succeeded, and returns its output.
#[track_caller]
fn succeed(site: &Site, arguments: &[&str]) -> String {
    let ended = run(site, arguments);
    assert!(
        ended.status.success() && ended.stderr.is_empty(),
        "{ended:?}"
    );
    ended.stdout
}

/// Lets clients report to a server.
fn report(site: &Site, server: &str, clients: std::ops::Range<usize>, time: u64) {
    let mut client = site.client(server);
    for n in clients {
        let answer = client.ask(&format!("IAMAT client-{n} +1+{} {time}", time % 100));
        assert!(answer.starts_with("AT "), "{answer}");
    }
}

fn held_time(site: &Site, server: &str, client: usize) -> Option<u64> {
    let report = site.report(server, &format!("client-{client}"))?;
    report.rsplit(' ').next()?.parse().ok()
}

#[test]
fn an_export_makes_another_herd_know_everything_in_any_order_and_twice() {
    let (site, process) = Site::up(PAIR, "");
    // More than a message of an export holds.
    report(&site, "Riley", 0..6000, 100);
    let text = succeed(&site, &["export", "old.export", "--server", "Riley"]);
    assert!(
        text.starts_with("exported 6,000 reports of Riley to old.export: "),
        "{text}"
    );
    report(&site, "Riley", 0..10, 200);
    report(&site, "Riley", 6000..6001, 200);
    let text = succeed(&site, &["export", "new.export"]);
    assert!(text.starts_with("exported 6,001 reports of "), "{text}");
    assert!(!site.path("new.export.unfinished").exists());
    let answer = site.report("Riley", "client-7");
    process.kill();

    // The herd has no storage, and starts empty.
    let process = site.run(&["up"]).ok().expect("its ports are free again");
    assert_eq!(held_time(&site, "Riley", 0), None);
    let text = succeed(
        &site,
        &["import", "new.export", "old.export", "--server", "Jaquez"],
    );
    assert_eq!(
        text,
        "imported new.export into Jaquez: 6,001 newer, 0 duplicate, 0 stale\n\
         imported old.export into Jaquez: 0 newer, 5,990 duplicate, 10 stale\n"
    );
    let text = succeed(
        &site,
        &["import", "new.export", "--json", "--server", "Jaquez"],
    );
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json[0]["duplicate"], 6001);
    assert_eq!(json[0]["skipped"], 0);
    assert_eq!(site.report("Jaquez", "client-7"), answer);
    let text = succeed(&site, &["status", "--json", "--server", "Jaquez"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["servers"][0]["status"]["reports_imported"], 6001);
    eventually("the reports spread", || {
        (held_time(&site, "Riley", 6000) == Some(200)).then_some(())
    });
    let located = succeed(&site, &["locate", "client-7"]);
    assert!(
        located.contains("a file") && located.contains("Jaquez"),
        "{located}"
    );
    drop(process);
}

#[test]
fn standard_output_and_input_carry_an_export() {
    let (site, _process) = Site::up(ALONE, "");
    report(&site, "Riley", 0..3, 100);
    let file = File::create(site.path("piped")).unwrap();
    let mut export = site.command(&["export", "-"]);
    export.stdout(file).stderr(Stdio::piped());
    let ended = Process::spawn_with_streams(&mut export).end();
    assert!(ended.status.success(), "{ended:?}");
    assert!(
        ended
            .stderr
            .starts_with("exported 3 reports of Riley to standard output: ")
    );

    let mut import = site.command(&["import", "-"]);
    import.stdin(File::open(site.path("piped")).unwrap());
    import.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Process::spawn_with_streams(&mut import).end();
    assert_eq!(
        ended.stdout,
        "imported standard input into Riley: 0 newer, 3 duplicate, 0 stale\n"
    );
}

#[test]
fn a_stopped_server_is_exported_from_its_storage_which_stays_as_it_is() {
    let (site, process) = Site::up(ALONE, STORAGE);
    report(&site, "Riley", 0..3, T);
    let answer = site.report("Riley", "client-1");
    process.signal("TERM");
    process.end();
    let files = || {
        let files = fs::read_dir(site.path("state/Riley")).unwrap();
        let mut files: Vec<_> = files
            .map(|file| file.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let text = succeed(&site, &["export", "backup"]);
    let expected = "exported 3 reports of the storage of Riley, which does not run, to backup: ";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(files(), before);

    let refused = run(&site, &["import", "backup"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused
            .stderr
            .contains("an import needs a running server; start one first")
    );

    fs::remove_dir_all(site.path("state")).unwrap();
    let refused = run(&site, &["export", "nothing"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("no server answered"), "{refused:?}");
    assert!(!site.path("nothing").exists() && !site.path("nothing.unfinished").exists());

    let _process = site.run(&["up"]).ok().expect("its ports are free again");
    succeed(&site, &["import", "backup"]);
    assert_eq!(site.report("Riley", "client-1"), answer);
}

#[test]
fn a_file_of_a_storage_is_imported_and_what_is_damaged_in_it_is_skipped() {
    let (site, process) = Site::up(ALONE, STORAGE);
    for n in 0..3 {
        report(&site, "Riley", n..n + 1, T);
        eventually("it is stored", || {
            let name = format!("client-{n}");
            stored(&site)
                .is_some_and(|bytes| position(&bytes, &name).is_some())
                .then_some(())
        });
    }
    let mut bytes = stored(&site).unwrap();
    process.kill();
    let at = position(&bytes, "client-1").unwrap();
    bytes[at] ^= 1;
    bytes.extend_from_slice(b"\xffPH the beginning of a frame");
    fs::write(site.path("damaged"), bytes).unwrap();
    fs::write(site.path("other"), "no export").unwrap();
    fs::remove_dir_all(site.path("state")).unwrap();

    let _process = site.run(&["up"]).ok().expect("its ports are free again");
    let ended = run(&site, &["import", "damaged"]);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        ended.stdout,
        "imported damaged into Riley: 2 newer, 0 duplicate, 0 stale; skipped 2 damaged parts\n"
    );
    let held = [0, 1, 2].map(|n| held_time(&site, "Riley", n).is_some());
    assert_eq!(held, [true, false, true]);
    let refused = run(&site, &["import", "other"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        refused.stderr,
        "error: cannot import other: it is no export and no file of a storage\n"
    );
}

#[test]
fn two_herds_become_one_only_if_that_is_meant() {
    let (site, process) = Site::up(ALONE, "");
    report(&site, "Riley", 0..1, 100);
    succeed(&site, &["export", "theirs"]);
    process.kill();
    site.set_config(
        &site
            .config()
            .replacen("name = \"test\"", "name = \"ours\"", 1),
    );
    let _process = site.run(&["up"]).ok().expect("its ports are free again");
    let refused = run(&site, &["import", "theirs"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains(
            "the reports are of the herd \"test\", and this server is of \"ours\": permit \
             other_herd (--other-herd) to make two herds one"
        ),
        "{refused:?}"
    );
    assert_eq!(held_time(&site, "Riley", 0), None);
    succeed(&site, &["import", "theirs", "--other-herd"]);
    assert_eq!(held_time(&site, "Riley", 0), Some(100));
}

/// Returns the bytes of Riley's storage.
fn stored(site: &Site) -> Option<Vec<u8>> {
    let files = fs::read_dir(site.path("state/Riley")).ok()?;
    let mut files = files.map(|file| file.unwrap().path());
    let state = files.find(|path| path.extension().is_none() && !path.ends_with("lock"))?;
    fs::read(state).ok()
}

fn position(bytes: &[u8], text: &str) -> Option<usize> {
    bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
}
