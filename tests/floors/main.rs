//! The crate is built in floors: a file imports from its own folder and from
//! lower floors, never up and never from a sibling on its own floor. So each
//! floor can be read, and tested, without what stands on it.

// A test may panic.
#![allow(clippy::unwrap_used)]

mod source;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use source::{modules, paths};

/// What stands on each floor, from the ground up.
const FLOORS: [&[&str]; 9] = [
    &["model", "proto", "metrics", "random", "format"],
    &["line_protocol", "replication"],
    &["places", "log", "tls", "queries"],
    &["gateway", "net"],
    &["clients", "peers", "operators", "web"],
    &["server"],
    &["config", "bench"],
    &["cli"],
    // The roof: they open the house and hold nothing.
    &["main", "lib"],
];

/// Folders that have their floor before they are built.
const PLANNED: [&str; 0] = [];

/// Folders without socket, clock, random source or async: those come in as
/// arguments, so that the whole protocol of a herd runs in a test.
const PURE: [&str; 4] = ["model", "line_protocol", "replication", "queries"];

/// Other people's crates that a pure folder may use: they compute, and do
/// nothing else.
const PURE_CRATES: [&str; 6] = [
    "ahash",
    "hashbrown",
    "ipnet",
    "memchr",
    "rstar",
    "twox_hash",
];

/// Types that name an address and reach nobody.
const ADDRESSES: [&str; 6] = [
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
];

#[test]
fn nobody_imports_from_above_or_from_next_door() {
    let mut wrong = String::new();
    for file in &files() {
        for (line, text, rule) in misplaced(&file.source, &file.module()) {
            let _ = writeln!(wrong, "{}:{line}: {text}: {rule}", file.name());
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn pure_folders_have_no_socket_clock_random_source_or_async() {
    let mut wrong = String::new();
    let crates = dependencies();
    for file in files().iter().filter(|file| PURE.contains(&file.folder())) {
        for (line, text, rule) in impure(&file.source, &file.module(), &crates) {
            let _ = writeln!(wrong, "{}:{line}: {text}: {rule}", file.name());
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_folder_has_a_floor_and_every_floor_its_folders() {
    let lib = fs::read_to_string(root().join("lib.rs")).unwrap();
    for module in modules(&lib) {
        let (line, name) = (module.line, &module.text);
        assert!(
            floor(name).is_some(),
            "src/lib.rs:{line}: mod {name}: it needs a floor in FLOORS of tests/floors"
        );
    }
    let there: Vec<String> = files()
        .iter()
        .map(|file| file.folder().to_owned())
        .collect();
    for folder in &there {
        assert!(floor(folder).is_some(), "src/{folder} needs a floor");
    }
    for folder in FLOORS.concat() {
        assert!(
            there.iter().any(|name| name == folder) || PLANNED.contains(&folder),
            "src/{folder} has a floor and is not there"
        );
    }
}

#[test]
fn every_file_opens_with_what_it_is() {
    for file in files() {
        assert!(
            file.source.starts_with("//! "),
            "{}:1: a file opens with //! and its idea",
            file.name()
        );
    }
    for folder in folders(&root()) {
        assert!(
            folder.join("mod.rs").exists(),
            "{}: a folder's idea stands in its mod.rs",
            folder.display()
        );
    }
}

#[test]
fn what_is_misplaced_is_told() {
    for (module, source, told) in [
        (
            &["line_protocol", "reply"][..],
            "use crate::model::name::Name;",
            "",
        ),
        (
            &["line_protocol", "reply"],
            "use super::lines; use crate::line_protocol::command;",
            "",
        ),
        (
            &["line_protocol"],
            "use crate::replication::store;",
            "next door",
        ),
        (
            &["line_protocol"],
            "fn f(x: crate::gateway::Clock) {}",
            "above",
        ),
        (
            &["peers", "link"],
            "use super::super::clients::Listener;",
            "next door",
        ),
        (
            &["peers", "link"],
            "mod tests { use super::super::super::server; }",
            "above",
        ),
        (
            &["gateway"],
            "use crate::{replication, config::Config};",
            "above",
        ),
        (&["cli"], "use crate::shiny::New;", "no floor"),
        (&["cli"], "use crate::*;", "no floor"),
        (&["cli"], "use crate as everything;", "name a folder"),
        (&["main"], "fn main() { proxyherd::cli::main() }", ""),
        (
            &["replication"],
            "/// See [`crate::peers`].\nfn f() { \"crate::peers::x\"; }",
            "",
        ),
    ] {
        let rules: Vec<String> = misplaced(source, module).into_iter().map(|m| m.2).collect();
        let as_told = match told {
            "" => rules.is_empty(),
            told => rules.len() == 1 && rules[0].contains(told),
        };
        assert!(as_told, "{source} in {module:?}: {rules:?}");
    }
}

#[test]
fn what_is_impure_is_told() {
    let crates = ["tokio".to_owned(), "hashbrown".to_owned()];
    for (source, is_pure) in [
        (
            "use std::time::Duration; use std::net::{IpAddr, SocketAddr};",
            true,
        ),
        ("use std::hash::RandomState; fn f(x: RandomState) {}", true),
        ("use hashbrown::HashTable;", true),
        (
            "#[cfg(test)] mod tests { fn f() { RandomState::new(); } }",
            true,
        ),
        ("// Instant::now(), async", true),
        ("use std::time::{Duration, Instant};", false),
        ("fn f() { std::time::SystemTime::now() }", false),
        ("use std::net::{IpAddr, TcpStream};", false),
        ("use std::net;", false),
        ("use std::fs;", false),
        ("fn f() { RandomState::new(); }", false),
        (
            "use std::collections::HashMap; fn f() { HashMap::new(); }",
            false,
        ),
        ("fn f() { tokio::spawn(g()) }", false),
        ("async fn f() {}", false),
        ("fn f() { g.await }", false),
    ] {
        let found = impure(source, &["replication"], &crates);
        assert_eq!(found.is_empty(), is_pure, "{source}: {found:?}");
    }
}

type Finding = (usize, String, String);

/// What a file names that its floor may not.
fn misplaced(source: &str, module: &[&str]) -> Vec<Finding> {
    let own = module[0];
    let mut found = Vec::new();
    for path in paths(source, module) {
        let Some(to) = &path.within_crate else {
            continue;
        };
        let rule = match to.first() {
            Some(folder) => rule(own, folder),
            None if path.is_import => Some("name a folder, not the crate as a whole".to_owned()),
            None => None,
        };
        found.extend(rule.map(|rule| (path.line, path.text, rule)));
    }
    found
}

/// The rule that an import of `other` by `own` breaks.
fn rule(own: &str, other: &str) -> Option<String> {
    let Some(target) = floor(other) else {
        return Some(format!("{other} has no floor"));
    };
    let here = floor(own)?;
    if own == other || target < here {
        return None;
    }
    let where_it_is = if target == here { "next door" } else { "above" };
    Some(format!(
        "{other} (floor {target}) is {where_it_is}: {own} (floor {here}) may import from itself and from lower floors"
    ))
}

fn floor(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&folder))
}

/// What a file on a pure floor uses that it may not. Its tests may.
fn impure(source: &str, module: &[&str], crates: &[String]) -> Vec<Finding> {
    let mut found = Vec::new();
    for path in paths(source, module).into_iter().filter(|p| !p.is_test) {
        let words: Vec<&str> = path.text.split("::").collect();
        let rule = impurity(&words, crates).map(str::to_owned);
        found.extend(rule.map(|rule| (path.line, path.text, rule)));
    }
    found
}

fn impurity(words: &[&str], crates: &[String]) -> Option<&'static str> {
    match words {
        ["async" | "await"] => Some("no async down here"),
        ["std", "net", address] if ADDRESSES.contains(address) => None,
        ["std", "net", ..] => Some("no socket down here: addresses only"),
        ["std", "time", "Duration"] => None,
        ["std", "time", ..] => Some("time comes in as an argument"),
        ["std", "fs" | "io" | "env" | "process" | "thread" | "os", ..] => {
            Some("nothing of the system down here")
        }
        [.., "Instant" | "SystemTime", _] => Some("time comes in as an argument"),
        [
            ..,
            "RandomState" | "HashMap" | "HashSet",
            "new" | "default" | "with_capacity" | "from",
        ] => Some("chance comes in as an argument"),
        [first, ..] if crates.iter().any(|name| name == first) => (!PURE_CRATES.contains(first))
            .then_some("this crate may do more than compute (see PURE_CRATES)"),
        _ => None,
    }
}

/// The crates that Cargo.toml names, as code names them.
fn dependencies() -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n[").unwrap();
    let names = dependencies
        .lines()
        .filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

/// A file of this crate.
struct File {
    /// From `src` on.
    path: PathBuf,
    source: String,
}

impl File {
    fn name(&self) -> String {
        format!("src/{}", self.path.display())
    }

    /// Its path as a module, from the crate's root.
    fn module(&self) -> Vec<&str> {
        let names = self.path.iter().map(|name| name.to_str().unwrap());
        let names = names.map(|name| name.trim_end_matches(".rs"));
        names.filter(|&name| name != "mod").collect()
    }

    fn folder(&self) -> &str {
        self.module()[0]
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files() -> Vec<File> {
    let mut folders = folders(&root());
    folders.push(root());
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let rust = paths.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let read = |path: PathBuf| File {
        source: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_owned(),
    };
    let mut files: Vec<File> = rust.map(read).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 50, "src was not read");
    files
}

/// All folders below one.
fn folders(below: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let direct: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    let deeper: Vec<PathBuf> = direct.iter().flat_map(|folder| folders(folder)).collect();
    [direct, deeper].concat()
}
