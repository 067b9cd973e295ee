//! The crate is built in floors: a file imports from its own folder and from lower
//! floors, no files import each other in a circle, and the pure folders compute and
//! do nothing else. `docs/architecture.md` has the reasons.
//!
//! The scan is by text. It reads paths and `use` trees line by line, outside
//! comments and string literals; a string of several lines counts as code.

// A test may panic.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of each floor, from the lowest up. The last one is the roof, which
/// opens the crate and holds nothing.
const FLOORS: [&[&str]; 10] = [
    &[
        "model", "proto", "metrics", "cause", "format", "lock", "output", "random", "recent",
        "table", "threads", "topology",
    ],
    &["line_protocol", "replication"],
    &["places", "log", "tls", "queries", "wire"],
    &["gateway", "net", "signals"],
    &["operator_client"],
    &["clients", "peers", "operators", "web", "storage"],
    &["server"],
    &["config", "bench", "testkit"],
    &["cli"],
    &["main", "lib"],
];

/// Folders without socket, clock, random source or async code: those are arguments.
const PURE: [&str; 5] = [
    "model",
    "line_protocol",
    "replication",
    "queries",
    "topology",
];

/// Dependencies that a pure folder may use, since they only compute.
const PURE_CRATES: [&str; 6] = [
    "ahash",
    "boxcar",
    "hashbrown",
    "ipnet",
    "memchr",
    "twox_hash",
];

/// A path's segments.
type Segments = Vec<String>;

#[test]
fn no_file_imports_from_a_higher_floor_or_from_a_neighbour_on_its_own() {
    let wrong: Vec<_> = sources()
        .iter()
        .flat_map(|(module, source)| misplaced(source, module))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports(&sources());
    for start in imports.keys() {
        let mut seen = BTreeSet::new();
        let mut ways = vec![vec![start]];
        while let Some(way) = ways.pop() {
            for next in &imports[way[way.len() - 1]] {
                assert!(next != start, "a circle: {way:?}");
                if seen.insert(next) {
                    ways.push([&way[..], &[next]].concat());
                }
            }
        }
    }
}

#[test]
fn pure_folders_use_no_socket_clock_random_source_or_async() {
    let dependencies = dependencies();
    let is_pure = |module: &Segments| PURE.contains(&module[0].as_str());
    let wrong: Vec<_> = sources()
        .iter()
        .filter(|(module, _)| is_pure(module))
        .flat_map(|(module, source)| {
            let found = impure(source, &dependencies).into_iter();
            found.map(|path| format!("{} uses {path}", module.join("::")))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_folder_has_a_floor_and_every_floor_its_folders() {
    let present: BTreeSet<_> = sources()
        .into_keys()
        .map(|module| module[0].clone())
        .collect();
    let planned = FLOORS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(present, planned);
}

#[test]
fn every_file_opens_with_its_idea() {
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let is_map = path.ends_with("src/lib.rs") && text.starts_with("#![doc = include_str!(");
        assert!(
            text.starts_with("//! ") || is_map,
            "{path:?} opens with //!"
        );
        let folder = path.parent().unwrap();
        let is_root = folder.ends_with("src");
        assert!(
            is_root || folder.join("mod.rs").exists(),
            "{folder:?} has a mod.rs"
        );
    }
}

#[test]
fn finds_misplaced_imports() {
    for (module, source, is_allowed) in [
        (
            &["line_protocol", "reply"][..],
            "use crate::model::name::Name;",
            true,
        ),
        (
            &["line_protocol", "reply"],
            "use super::lines; use crate::line_protocol::command;",
            true,
        ),
        (&["line_protocol"], "use crate::replication::store;", false),
        (
            &["line_protocol"],
            "fn f(x: crate::gateway::Clock) {}",
            false,
        ),
        (
            &["peers", "link"],
            "use super::super::clients::Listener;",
            false,
        ),
        (
            &["peers", "link"],
            "#[cfg(test)]\nmod tests { use super::*; }",
            true,
        ),
        (
            &["peers", "link"],
            "#[cfg(test)]\nmod tests { use super::super::super::server; }",
            false,
        ),
        (
            &["gateway"],
            "use crate::{replication, config::Config};",
            false,
        ),
        (
            &["gateway"],
            "macro_rules! m { () => { $crate::config::Config } }",
            false,
        ),
        (&["cli"], "use crate::shiny::New;", false),
        (&["cli"], "use crate::*;", false),
        (&["cli"], "use crate as everything;", false),
        (&["cli"], "fn f() { proxyherd::server::run() }", true),
        (&["main"], "fn main() { proxyherd::cli::main() }", true),
        (
            &["replication"],
            "/// See [`crate::peers`].\nfn f() { \"crate::peers::x\"; }",
            true,
        ),
    ] {
        let module: Segments = module.iter().map(|&name| name.to_owned()).collect();
        let found = misplaced(&code(source), &module);
        assert_eq!(
            found.is_empty(),
            is_allowed,
            "{source} in {module:?}: {found:?}"
        );
    }
}

#[test]
fn finds_what_is_impure() {
    let dependencies = ["tokio".to_owned(), "hashbrown".to_owned()];
    for (source, is_pure) in [
        (
            "use std::time::Duration; use std::net::{IpAddr, SocketAddr};",
            true,
        ),
        ("use std::hash::RandomState; fn f(x: RandomState) {}", true),
        ("use hashbrown::HashTable;", true),
        (
            "#[cfg(test)]\nmod tests { fn f() { RandomState::new(); } }",
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
        let found = impure(&code(source), &dependencies);
        assert_eq!(found.is_empty(), is_pure, "{source}: {found:?}");
    }
}

/// Returns the imports of a module that its floor does not permit.
fn misplaced(source: &str, module: &[String]) -> Vec<String> {
    let own = &module[0];
    let floor = |name: &String| {
        let is_there = |floor: &&[&str]| floor.contains(&name.as_str());
        FLOORS.iter().position(is_there)
    };
    let is_allowed = |path: &Segments| {
        let is_lower = floor(&path[0]).is_some_and(|other| Some(other) < floor(own));
        path[0] == *own || is_lower
    };
    let (code, tests) = split_tests(source);
    let in_tests = [module, &["tests".to_owned()]].concat();
    let found = [inner_paths(&code, module), inner_paths(tests, &in_tests)].concat();
    let wrong = found.into_iter().filter(|path| !is_allowed(path));
    let renamed = source
        .contains("use crate as ")
        .then(|| vec!["as".to_owned()]);
    let wrong = wrong.chain(renamed);
    wrong
        .map(|path| format!("{} imports crate::{}", module.join("::"), path.join("::")))
        .collect()
}

/// Returns what a pure folder may not use. Its tests may.
fn impure(source: &str, dependencies: &[String]) -> Vec<String> {
    let is_impure = |path: &Segments| match &path.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        ["async" | "await"] => true,
        ["std", "net", address] => {
            !(address.starts_with("Ip") || address.starts_with("SocketAddr"))
        }
        ["std", "time", "Duration"] => false,
        [
            "std",
            "net" | "time" | "fs" | "io" | "env" | "process" | "thread" | "os",
            ..,
        ] => true,
        [.., "Instant" | "SystemTime", _] => true,
        [
            ..,
            "RandomState" | "HashMap" | "HashSet",
            "new" | "default" | "with_capacity" | "from",
        ] => true,
        [name, _, ..] => dependencies.iter().any(|it| it == name) && !PURE_CRATES.contains(name),
        _ => false,
    };
    let found = all_paths(&split_tests(source).0).into_iter();
    found
        .filter(is_impure)
        .map(|path| path.join("::"))
        .collect()
}

/// Returns the files that each file imports. A folder's mod.rs imports nothing here:
/// it declares its files.
fn imports(sources: &BTreeMap<Segments, String>) -> BTreeMap<Segments, BTreeSet<Segments>> {
    let is_folder = |module: &Segments| {
        let is_below = |other: &Segments| other.len() > module.len() && other.starts_with(module);
        sources.keys().any(is_below)
    };
    let of = |(module, source): (&Segments, &String)| {
        let (code, _) = split_tests(source);
        let paths = if is_folder(module) {
            Vec::new()
        } else {
            inner_paths(&code, module)
        };
        let mut files: BTreeSet<_> = paths
            .iter()
            .filter_map(|path| file_of(path, sources))
            .collect();
        files.remove(module);
        (module.clone(), files)
    };
    sources.iter().map(of).collect()
}

/// Returns the file that a path leads into: by its longest prefix that is a module,
/// and through a re-export of its folder.
fn file_of(path: &[String], sources: &BTreeMap<Segments, String>) -> Option<Segments> {
    let is_module = |length: &usize| sources.contains_key(&path[..*length]);
    let (module, rest) = path.split_at((1..=path.len()).rev().find(is_module)?);
    let reexported = rest.first().and_then(|name| {
        let uses = sources[module]
            .split(';')
            .filter_map(|item| item.split_once("use "));
        let mut found = Vec::new();
        uses.for_each(|(_, tree)| _ = expand(tree, module, &mut found));
        let is_it = |path: &Segments| path.last() == Some(name) && path.len() > module.len() + 1;
        found.into_iter().find(is_it)
    });
    let through = reexported.and_then(|path| file_of(&path, sources));
    through
        .filter(|file| file.len() > module.len())
        .or(Some(module.to_vec()))
}

/// Returns the paths of a module that lead into the crate, from the crate's root. The
/// root itself, as in `pub(crate)`, is none.
fn inner_paths(source: &str, module: &[String]) -> Vec<Segments> {
    let absolute = |path: Segments| {
        let ups = path.iter().take_while(|part| *part == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "super" => Some([module.get(..module.len().checked_sub(ups)?)?, &path[ups..]].concat()),
            _ => None,
        }
    };
    let found = all_paths(source).into_iter().filter_map(absolute);
    found.filter(|path| !path.is_empty()).collect()
}

/// Returns all paths and words of a source, `use` trees expanded.
fn all_paths(source: &str) -> Vec<Segments> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find(is_word) {
        rest = expand(&rest[start..], &[], &mut found);
    }
    found
}

/// Adds each path of the tree at the beginning of `text` to `found`. Returns what
/// follows the tree.
fn expand<'a>(text: &'a str, prefix: &[String], found: &mut Vec<Segments>) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = text.trim_start();
    loop {
        let is_end = |c: char| !is_word(c) && c != '*';
        let (word, after) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
        path.extend((!["", "self"].contains(&word)).then(|| word.to_owned()));
        let Some(after) = after.strip_prefix("::") else {
            found.push(path);
            return after;
        };
        rest = after;
        if let Some(list) = rest.strip_prefix('{') {
            return expand_list(list, &path, found);
        }
        if !rest.starts_with(|c| is_word(c) || c == '*') {
            // Generic arguments, as in `collect::<Vec<_>>`.
            found.push(path);
            return rest;
        }
    }
}

/// As [`expand`], for the trees of a list, whose opening brace has been read.
fn expand_list<'a>(mut list: &'a str, path: &[String], found: &mut Vec<Segments>) -> &'a str {
    loop {
        list = list.trim_start();
        if let Some(after) = list.strip_prefix('}') {
            return after;
        }
        list = expand(list, path, found);
        // Passes over `as Name`.
        let end = list.find([',', '}']).unwrap_or(list.len());
        list = list[end..].trim_start_matches(',');
        if list.is_empty() {
            return list;
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The dependencies in Cargo.toml, by their names in code.
fn dependencies() -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = fs::read_to_string(manifest).unwrap();
    let (_, table) = text.split_once("\n[dependencies]\n").unwrap();
    let table = table.split("\n[").next().unwrap();
    let names = table.lines().filter_map(|line| line.split_once(" = "));
    let names: Vec<_> = names.map(|(name, _)| name.replace('-', "_")).collect();
    assert!(names.contains(&"tokio".to_owned()) && names.len() > 30);
    names
}

/// The code of every module.
fn sources() -> BTreeMap<Segments, String> {
    let module = |path: &PathBuf| {
        let relative = path.strip_prefix(root()).unwrap().with_extension("");
        let names = relative
            .iter()
            .map(|name| name.to_str().unwrap().to_owned());
        names.filter(|name| name != "mod").collect()
    };
    let read = |path: PathBuf| (module(&path), code(&fs::read_to_string(&path).unwrap()));
    files().into_iter().map(read).collect()
}

/// A source without comments and the contents of string literals.
fn code(source: &str) -> String {
    source
        .lines()
        .map(|line| code_of_line(line) + "\n")
        .collect()
}

fn code_of_line(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let line = line.replace("'\"'", "' '");
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => _ = chars.next(),
            '"' => in_string = !in_string,
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if !in_string => code.push(c),
            _ => {}
        }
    }
    code
}

/// Splits a source into its code and its module of tests.
fn split_tests(source: &str) -> (String, &str) {
    let Some((before, rest)) = source.split_once("#[cfg(test)]\nmod tests {") else {
        return (source.to_owned(), "");
    };
    let (tests, after) = rest.split_once("\n}\n").unwrap_or((rest, ""));
    ([before, after].concat(), tests)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 100, "src was not read");
    files
}
