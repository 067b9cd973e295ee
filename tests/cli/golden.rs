//! The transcripts in `golden/`: commands of the program, and what they print.
//!
//! A transcript looks like a terminal. `$ ` begins a command for the shell and `> ` continues it.
//! Below it are the exit code if it is not 0 (`? 2`), the standard output, and the standard error
//! after `2> `. `# Ctrl-C after line 2` at the end of a command interrupts it then. A line that
//! begins with `# ` is a comment. All commands of a file run in one directory, which has the
//! shipped config; those in `golden/herd` run beside a herd.
//!
//! White space at the end of a line is not compared. `[..]` stands for any characters, `...` for
//! any lines, and other names in brackets for the values of a run. With `SNAPSHOTS=overwrite` a
//! test run writes what it saw into the files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::{Assert, Data, Redactions};

use crate::common::{Ended, Herd, Process, Site, Topology, eventually};

/// The time of all clocks of a herd, in nanoseconds.
const NOW: i64 = 1_621_464_828_223_371_889;

/// A chain of three servers.
const THREE: Topology<'static> = (
    &["Riley", "Jaquez", "Juzang"],
    &[("Riley", "Jaquez"), ("Jaquez", "Juzang")],
);

/// The comment that the number of a line follows.
const INTERRUPTED: &str = " # Ctrl-C after line ";

/// The names of peer addresses in transcripts.
const PEERS: [&str; 3] = ["[RILEY_PEERS]", "[JAQUEZ_PEERS]", "[JUZANG_PEERS]"];

#[test]
fn commands_print_what_the_transcripts_show() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert_transcript(&path, &Site::new(THREE, ""), redactions());
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn queries_of_a_herd_print_what_the_transcript_shows() {
    let herd = herd();
    let (site, redactions) = site_of(&herd);
    assert_transcript(&folder().join("herd/healthy.txt"), &site, redactions);
}

#[test]
fn queries_of_a_herd_without_one_server_print_what_the_transcript_shows() {
    let mut herd = herd();
    let (site, redactions) = site_of(&herd);
    herd.kill("Juzang");
    eventually("the link is down", || {
        (!herd.is_up("Jaquez", "Juzang")).then_some(())
    });
    assert_transcript(&folder().join("herd/one_down.txt"), &site, redactions);
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden")
}

/// Starts a herd in which every server knows the same two clients.
fn herd() -> Herd {
    let herd = Herd::new(THREE).launched_at(NOW);
    for (server, line) in [
        (
            "Riley",
            "IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503",
        ),
        (
            "Juzang",
            "IAMAT plum.cs.ucla.edu +34.069930-118.445127 1621464738.223371889",
        ),
    ] {
        herd.client(server).ask(line);
        herd.await_pushes();
        let counters = herd.gateway(server).counters();
        eventually("the client is gone", || {
            (counters.client_connections() == 0).then_some(())
        });
    }
    herd
}

/// Returns a site with the config of a herd, and the names of its addresses.
fn site_of(herd: &Herd) -> (Site, Redactions) {
    let site = Site::new(THREE, "");
    let mut config = site.config();
    let mut redactions = redactions();
    for (server, name) in site.servers().iter().zip(PEERS) {
        let address = herd.peers_address(&server.name).to_string();
        let planned = format!("127.0.0.1:{}", server.peers);
        config = config.replace(&planned, &address);
        redactions.insert(name, address).unwrap();
    }
    site.set_config(&config);
    (site, redactions)
}

/// Returns the names of what differs from run to run, except addresses.
fn redactions() -> Redactions {
    let mut redactions = Redactions::new();
    let version = env!("CARGO_PKG_VERSION");
    redactions.insert("[VERSION]", version).unwrap();
    for (name, pattern) in [
        ("[DATE]", "20[0-9-]{8}T[0-9:]{8}Z"),
        (
            "[UP]",
            "(?m)^(?:server|Riley|Jaquez|Juzang)(?<redacted> +(?:up|[0-9][0-9a-z.]+))",
        ),
        (
            "[SPACES]",
            "(?m)^(?:Riley|Jaquez|Juzang)(?<redacted> +)DOWN",
        ),
        ("[TIME]", "[0-9] rounds?, (?<redacted>[0-9a-z.]+)"),
        ("[TIME]", "down for (?<redacted>[^:]+):"),
        ("[REASON]", "down for [^:]+: (?<redacted>[^;]+);"),
        ("[INCARNATION]", "incarnation\": \"(?<redacted>[0-9a-f]+)\""),
        (
            "[NUMBER]",
            "\"(?:uptime_seconds|seconds|last_round_trip_seconds|clock_offset_seconds|\
             clock_offset_error_seconds|incoming_silence_seconds|batches_sent|batches_received|calls_failed)\": (?<redacted>[0-9.e-]+)",
        ),
    ] {
        let pattern = Regex::new(pattern).unwrap();
        redactions.insert(name, pattern).unwrap();
    }
    redactions
}

#[track_caller]
fn assert_transcript(path: &Path, site: &Site, redactions: Redactions) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/herd.toml");
    fs::create_dir(site.path("config")).unwrap();
    fs::copy(config, site.path("config/herd.toml")).unwrap();
    let actual = replay(&fs::read_to_string(path).unwrap(), site);
    let assert = Assert::new().action_env(DEFAULT_ACTION_ENV);
    let assert = assert.redact_with(redactions).normalize_paths(false);
    assert.eq(actual, Data::read_from(path, None));
}

/// Runs the commands of a transcript, and returns it with their output.
fn replay(transcript: &str, site: &Site) -> String {
    let mut replayed = String::new();
    let mut lines = transcript.lines().peekable();
    let begins = |line: &str| line.starts_with("$ ") || line.starts_with("# ");
    while let Some(line) = lines.next() {
        let _ = writeln!(replayed, "{line}");
        let Some(command) = line.strip_prefix("$ ") else {
            continue;
        };
        let mut command = command.to_owned();
        while let Some(line) = lines.next_if(|line| line.starts_with("> ")) {
            let _ = writeln!(replayed, "{line}");
            command = format!("{command}\n{}", &line[2..]);
        }
        while lines.next_if(|line| !begins(line)).is_some() {}
        let output = shown(&run(&command, site));
        assert!(!output.lines().any(begins), "ambiguous: {output}");
        replayed += &output;
        if lines.peek().is_some() {
            replayed.push('\n');
        }
    }
    replayed
}

/// Runs a command by the shell.
fn run(command: &str, site: &Site) -> Ended {
    let program = Path::new(env!("CARGO_BIN_EXE_proxyherd"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.current_dir(site.path("")).arg("-c");
    shell.env("PATH", path).env_remove("RUST_LOG");
    shell.env_remove("PROXYHERD_CONFIG");
    let Some((command, lines)) = command.split_once(INTERRUPTED) else {
        return Process::run(shell.arg(command));
    };
    let lines: usize = lines.parse().unwrap();
    // A shell that waits for its command would be interrupted in its place.
    shell.arg(format!("exec {command}"));
    let process = Process::spawn(&mut shell);
    eventually("the lines are printed", || {
        (process.stdout().lines().count() >= lines).then_some(())
    });
    process.signal("INT");
    process.end()
}

/// Returns what a command did, as a transcript shows it.
fn shown(ended: &Ended) -> String {
    let mut shown = String::new();
    match ended.status.code() {
        Some(0) => {}
        Some(code) => shown = format!("? {code}\n"),
        None => panic!("{ended:?}"),
    }
    for line in ended.stdout.lines() {
        let _ = writeln!(shown, "{}", line.trim_end());
    }
    for line in ended.stderr.lines() {
        let _ = writeln!(shown, "{}", format!("2> {line}").trim_end());
    }
    shown
}
