//! The crate is built in floors: a file imports from its own folder and from lower
//! floors, and no files import each other in a circle. `docs/architecture.md` has
//! the reasons. The scan is by text: it reads `use` declarations and paths that
//! begin with `crate` or `super`, outside comments.

// A test may panic.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of each floor, from the lowest up.
const FLOORS: [&[&str]; 8] = [
    &["model", "proto", "metrics", "random", "format"],
    &["line_protocol", "replication"],
    &["places", "log", "tls", "queries"],
    &["gateway", "net"],
    &["clients", "peers", "operators", "web"],
    &["server"],
    &["config", "bench"],
    &["cli"],
];

/// Folders without socket, clock, random source or async code: those are arguments.
const PURE: [&str; 4] = ["model", "line_protocol", "replication", "queries"];

/// What a pure folder does not use outside its tests.
const IMPURE: [&str; 13] = [
    "tokio",
    "async fn",
    ".await",
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "TcpStream",
    "UdpSocket",
    "RandomState::new",
];

type Module = Vec<String>;

#[test]
fn no_file_imports_from_a_higher_floor_or_from_a_neighbour_on_its_own() {
    let floor = |name: &str| FLOORS.iter().position(|floor| floor.contains(&name));
    let mut wrong = Vec::new();
    for (module, source) in sources() {
        let Some(own) = module.first().and_then(|name| floor(name)) else {
            assert!(
                ["main", "lib"]
                    .map(str::to_owned)
                    .contains(&module.concat())
                    || module.is_empty()
            );
            continue;
        };
        let (code, tests) = source.split_at(without_tests(&source).len());
        let in_tests = [&module[..], &["tests".to_owned()]].concat();
        for path in [paths(code, &module), paths(tests, &in_tests)].concat() {
            let allowed = path.first().is_none_or(|other| {
                *other == module[0] || floor(other).is_some_and(|other| other < own)
            });
            if !allowed {
                wrong.push(format!("{} imports {}", module.join("::"), path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let imports: BTreeMap<_, BTreeSet<_>> = sources
        .iter()
        .map(|(module, source)| {
            // A folder's mod.rs declares its files, so only what the files import counts.
            let is_folder = sources
                .keys()
                .any(|other| other.len() > module.len() && other.starts_with(module));
            let code = if is_folder { "" } else { without_tests(source) };
            let targets = paths(code, module)
                .iter()
                .filter_map(|path| file_of(path, &sources))
                .collect::<BTreeSet<_>>();
            (
                module,
                targets
                    .into_iter()
                    .filter(|target| target != module)
                    .collect(),
            )
        })
        .collect();
    for start in imports.keys() {
        let mut seen = BTreeSet::new();
        let mut trail = vec![vec![(*start).clone()]];
        while let Some(way) = trail.pop() {
            for next in &imports[way.last().unwrap()] {
                assert!(next != *start, "a circle: {way:?}");
                if seen.insert(next.clone()) {
                    trail.push([way.clone(), vec![next.clone()]].concat());
                }
            }
        }
    }
}

#[test]
fn pure_folders_use_no_socket_clock_random_source_or_async() {
    let sources = sources();
    let pure = sources.iter().filter(|(module, _)| {
        PURE.iter()
            .any(|name| module.first().is_some_and(|own| own == name))
    });
    let found: Vec<_> = pure
        .flat_map(|(module, source)| {
            let used = IMPURE
                .iter()
                .filter(|word| without_tests(source).contains(**word));
            used.map(|word| format!("{} uses {word}", module.join("::")))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_scan_finds_paths_in_every_form() {
    let source = "use crate::{a, b::{self, C as D}};\nuse super::x::Y;\nfn f() { super::super::z(); crate::q::r() }";
    let found: BTreeSet<String> = paths(source, &["m".into(), "n".into()])
        .iter()
        .map(|path| path.join("::"))
        .collect();
    let expected = ["a", "b", "b::C", "m::x::Y", "q::r", "z"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
}

/// The source of every module, without comments.
fn sources() -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap().with_extension("");
                let mut module: Module = relative
                    .iter()
                    .map(|part| part.to_str().unwrap().to_owned())
                    .collect();
                module.retain(|part| part != "mod");
                let text = fs::read_to_string(&path).unwrap();
                let code = text.lines().map(|line| line.split("//").next().unwrap());
                sources.insert(module, code.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    assert!(sources.len() > 100);
    sources
}

fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod ").next().unwrap()
}

/// Paths within the crate that a source names, from the crate's root.
fn paths(source: &str, module: &[String]) -> Vec<Module> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in source.match_indices(start) {
            let before = source[..at].chars().next_back();
            let is_start = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
            if is_start {
                expand(&source[at..], &[], &mut |path| {
                    found.extend(absolute(path, module))
                });
            }
        }
    }
    found
}

/// Calls `take` with each path of a use tree, and gives what follows the tree.
fn expand<'a>(text: &'a str, prefix: &[String], take: &mut dyn FnMut(&[String])) -> &'a str {
    let mut path = prefix.to_vec();
    let mut rest = text.trim_start();
    loop {
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        path.extend((end > 0 && &rest[..end] != "self").then(|| rest[..end].to_owned()));
        rest = &rest[end..];
        let Some(after) = rest.strip_prefix("::") else {
            take(&path);
            return rest;
        };
        rest = after;
        if let Some(mut list) = rest.strip_prefix('{') {
            loop {
                list = expand(list, &path, take);
                // Passes over `as Name` and `*`.
                let next = list
                    .find([',', '}'])
                    .unwrap_or(list.len().saturating_sub(1));
                let (separator, after) = list[next..].split_at(1);
                list = after.trim_start();
                if separator == "}" || list.starts_with('}') {
                    return list;
                }
            }
        }
    }
}

/// A path from the crate's root, for one that begins with `crate` or `super`.
fn absolute(path: &[String], module: &[String]) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let base = if path[0] == "crate" {
        &[]
    } else {
        module.get(..module.len().checked_sub(ups)?)?
    };
    Some([base, &path[ups.max(1)..]].concat())
}

/// The file that a path leads into: by its longest prefix that is a module, and
/// through a re-export of its folder.
fn file_of(path: &Module, sources: &BTreeMap<Module, String>) -> Option<Module> {
    let length = (1..=path.len())
        .rev()
        .find(|length| sources.contains_key(&path[..*length]))?;
    let module = path[..length].to_vec();
    let Some(name) = path.get(length) else {
        return Some(module);
    };
    for line in sources[&module]
        .split(';')
        .filter(|line| line.contains("use "))
    {
        let (_, tree) = line.split_once("use ").unwrap();
        let mut through = None;
        expand(tree, &module, &mut |path| {
            if path.last() == Some(name) && path.len() > length + 1 {
                through = file_of(&path.to_vec(), sources);
            }
        });
        if through.as_ref().is_some_and(|file| file.len() > length) {
            return through;
        }
    }
    Some(module)
}
